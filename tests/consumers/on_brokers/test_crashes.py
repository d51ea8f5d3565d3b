"""Workers killed with SIGKILL lose no job, and whatever ran twice is explained by a kill (P1, P2, P3)."""

from __future__ import annotations

import random
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from stoker.producers import Producer
from stoker.topology import ClusterSettings
from stoker.topology.declaration.queue import Ordering
from stoker.topology.wire.ledger_names import MOVED
from support.program import TESTS, program
from support.programs.crashing_worker import declare
from support.scenes.worker import (
    committed,
    create,
    dead_letters,
    ends,
    headers_of,
    read_topic,
    remembered,
    wait_all_committed,
)
from support.waiting import wait_until

JOBS = 3_000
KEYS = 50
DEADLINE_S = 60.0


@dataclass(frozen=True, slots=True)
class Run:
    """One line of the file of runs."""

    job_id: str
    attempt: int
    process_id: int


class Ground:
    """A queue with jobs on a cluster, the file of runs, and worker processes to kill."""

    def __init__(
        self, cluster: ClusterSettings, namespace: str, folder: Path, jobs: int, ordering: Ordering = "key"
    ) -> None:
        self.cluster, self.namespace, self.file = cluster, namespace, folder / "runs"
        self.file.touch()
        self.pipeline, self.queue, act = declare(namespace, self.file, ordering)
        self.processes: list[subprocess.Popen[bytes]] = []
        create(self.pipeline, cluster)
        with Producer(self.pipeline, cluster) as producer:
            producer.enqueue_many(act.with_options(job_id=f"{n}", key=f"k{n % KEYS}").call(n) for n in range(jobs))
        self.jobs = {str(number) for number in range(jobs)}
        self.spent = {str(number) for number in range(9, jobs, 10)}

    def start(self, place: str = "never") -> subprocess.Popen[bytes]:
        """Start a worker process that dies at a place."""
        where = (self.cluster.bootstrap_servers, self.namespace, str(self.file), self.queue.ordering)
        command = [*program("crashing_worker"), *where, place]
        process = subprocess.Popen(command, cwd=TESTS, stderr=subprocess.DEVNULL)
        self.processes.append(process)
        return process

    @property
    def runs(self) -> list[Run]:
        """What ran so far."""
        lines = [line.split() for line in self.file.read_text().splitlines()]
        return [Run(job_id, int(attempt), int(process_id)) for job_id, attempt, process_id in lines]

    def run_count(self) -> int:
        """How many runs there were so far."""
        return self.file.read_bytes().count(b"\n")

    def wait_settled(self, within_s: float = DEADLINE_S) -> None:
        """Wait until every job has its outcome on the topics, and all is committed."""
        wait_all_committed(self.cluster, self.queue, within_s)
        wait_until(lambda: self.done_ids() == self.jobs - self.spent, within_s, "all others to be done")
        wait_until(lambda: self.dead_ids().keys() == self.spent, within_s, "the dead letters")
        wait_all_committed(self.cluster, self.queue, within_s)

    def done_ids(self) -> set[str]:
        """Jobs that the ledger has as completed."""
        return {name for name in remembered(self.cluster, self.queue) if not name.startswith(MOVED)}

    def dead_ids(self) -> Counter[str]:
        """{job: dead letters}."""
        return Counter(headers_of(letter)["ce_id"].decode() for letter in dead_letters(self.cluster, self.queue))

    def all_tiers_committed(self) -> bool:
        """Whether the group has committed all that the retry tier holds."""
        topic = next(iter(self.queue.retry_topics.values()))
        at = committed(self.cluster, self.queue, topic)
        return all(at.get(number, 0) >= end for number, end in ends(self.cluster, topic, self.queue.partitions).items())

    def retry_count(self) -> int:
        """Records in the retry tier."""
        topic = next(iter(self.queue.retry_topics.values()))
        return len(read_topic(self.cluster, topic, self.queue.partitions))


@contextmanager
def ground(
    cluster: ClusterSettings, namespace: str, folder: Path, jobs: int, ordering: Ordering = "key"
) -> Iterator[Ground]:
    """A ground whose processes are ended afterwards."""
    made = Ground(cluster, namespace, folder, jobs, ordering)
    try:
        yield made
    finally:
        for process in made.processes:
            process.kill()
            process.wait(10)


@pytest.mark.parametrize("seed", [1, 2])
def test_workers_killed_at_random_lose_no_job(
    cluster: ClusterSettings, namespace: str, tmp_path: Path, seed: int
) -> None:
    """3,000 jobs with failures, two processes, three kills: each job is done or dead, and only those repeat that a
    killed process had begun."""
    with ground(cluster, namespace, tmp_path, JOBS) as scene:
        killed = kill_at_random(scene, random.Random(seed), kills=3)
        scene.wait_settled()
        check_account(scene, killed)


@pytest.mark.soak
@pytest.mark.timeout(1_200)
def test_a_hundred_thousand_jobs_outlive_many_kills(cluster: ClusterSettings, namespace: str, tmp_path: Path) -> None:
    """100,000 jobs with failures, two processes, 25 kills: none lost, and only those repeat that were begun."""
    with ground(cluster, namespace, tmp_path, 100_000) as scene:
        killed = kill_at_random(scene, random.Random(2013), kills=25)
        scene.wait_settled(within_s=600)
        check_account(scene, killed)


def kill_at_random(scene: Ground, draw: random.Random, kills: int) -> set[int]:
    """Two workers, of which one is killed after so and so many runs, again and again; returns the killed processes."""
    alive = [scene.start(), scene.start()]
    killed: set[int] = set()
    stretch = len(scene.jobs) * 7 // 10 // kills
    for kill in range(kills):
        enough = kill * stretch + draw.randrange(stretch * 6 // 7)
        wait_until(lambda enough=enough: scene.run_count() > enough, DEADLINE_S, "runs before the kill")  # type: ignore[misc]  # bound at once
        victim = alive.pop(draw.randrange(len(alive)))
        victim.kill()
        killed.add(victim.pid)
        alive.append(scene.start())
    return killed


def check_account(scene: Ground, killed: set[int]) -> None:
    """Every job ran, none is both done and dead, and whatever repeats was begun by a process that was killed."""
    runs = scene.runs
    assert {run.job_id for run in runs} == scene.jobs
    first_runs: dict[tuple[str, int], Run] = {}
    for run in runs:
        before = first_runs.setdefault((run.job_id, run.attempt), run)
        assert before is run or before.process_id in killed, f"{run} repeats {before}, and nobody killed that one"
    assert not scene.spent & scene.done_ids()


@pytest.mark.parametrize("seed", [1, 2])
def test_strict_order_outlives_kills(cluster: ClusterSettings, namespace: str, tmp_path: Path, seed: int) -> None:
    """1,000 jobs of 50 keys, a fifth of which fail, and three kills: no job of a key begins before the one before it
    has come to its end, though that waits in a retry tier while its worker dies."""
    with ground(cluster, namespace, tmp_path, 1_000, "strict") as scene:
        killed = kill_at_random(scene, random.Random(seed), kills=3)
        scene.wait_settled()
        check_account(scene, killed)
        check_strict_order(scene.runs)


def check_strict_order(runs: list[Run]) -> None:
    """Of each key, the first run of a job comes after the first of the last attempt of every job before it."""
    begun: dict[int, int] = {}
    ended: dict[int, int] = {}
    for at, run in enumerate(runs):
        number = int(run.job_id)
        begun.setdefault(number, at)
        if run.attempt == (2 if number % 10 in (5, 9) else 1):
            ended.setdefault(number, at)
    for number, at in begun.items():
        before = number - KEYS
        assert before < 0 or at > ended[before], f"job {number} began before {before} had ended"


AGAIN, ONCE = {1: 2, 2: 1}, {1: 1, 2: 1}


@pytest.mark.parametrize(
    ("place", "guaranteed"),
    [
        pytest.param("ran", [(AGAIN, 1)], id="after the run: it runs again, as the same attempt"),
        # Whichever comes first to the next process: the source, whose second retry is then stopped as a twin, or the
        # retry, after which the source is known as done.
        pytest.param("moved", [(AGAIN, 2), (ONCE, 1)], id="after the retry record: it runs to its end but once"),
        pytest.param("remembered", [(ONCE, 1)], id="after the ledger: nothing is done twice"),
    ],
)
def test_a_worker_killed_between_two_steps_of_settling_keeps_its_guarantee(
    cluster: ClusterSettings, namespace: str, tmp_path: Path, place: str, guaranteed: list[tuple[dict[int, int], int]]
) -> None:
    """Job 5 fails at first; the process dies at the place named, another one goes on. How often each attempt ran, and
    how many records its retry made, is what the order of the steps says."""
    with ground(cluster, namespace, tmp_path, 6) as scene:
        assert scene.start(place).wait(DEADLINE_S) == -9
        scene.start()
        scene.wait_settled()
        wait_until(scene.all_tiers_committed, DEADLINE_S, what="the tiers to be worked off")
        counted = Counter(run.attempt for run in scene.runs if run.job_id == "5")
        retries = scene.retry_count()
    assert (dict(counted), retries) in guaranteed
    assert scene.done_ids() == {"0", "1", "2", "3", "4", "5"}
