"""On a real broker: workers of unique jobs are killed and replaced, and an account from outside holds for each mode."""

from __future__ import annotations

import random
import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

from stoker.producers import Producer
from stoker.topology import ClusterSettings
from stoker.topology.wire.headers import JOB_ID, JOB_TYPE
from support.program import TESTS, program
from support.programs.unique_worker import declare
from support.scenes.worker import create, headers_of, read_topic, wait_all_committed

CUSTOMERS = 6
CLOCK_MS = 5
"""The brokers' times are of whole milliseconds, and of another process."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One job as its record on the topic has it."""

    job_id: str
    at_ms: int


class Account:
    """What has arrived, and what has run, both from outside."""

    def __init__(self, cluster: ClusterSettings, namespace: str, folder: Path) -> None:
        self.cluster, self.runs = cluster, folder / "runs"
        self.runs.touch()
        self.pipeline, self.queue, self.jobs = declare(namespace, self.runs)
        self._arguments = [cluster.bootstrap_servers, namespace, str(self.runs)]
        self.processes: list[subprocess.Popen[bytes]] = []
        create(self.pipeline, cluster)

    def start(self) -> None:
        """Start one more worker."""
        command = [*program("unique_worker"), *self._arguments]
        self.processes.append(subprocess.Popen(command, cwd=TESTS, stderr=subprocess.DEVNULL))

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """Kill -9."""
        process.kill()
        process.wait()
        self.processes.remove(process)

    def enqueue_until(self, over: threading.Event, chance: random.Random) -> None:
        """Enqueue jobs of both modes."""
        with Producer(self.pipeline, self.cluster) as producer:
            number = 0
            while not over.wait(chance.random() * 0.02):
                number += 1
                producer.enqueue(chance.choice(self.jobs), f"customer {chance.randrange(CUSTOMERS)}", number)

    def arrivals(self) -> dict[tuple[bytes, bytes], list[Arrival]]:
        """{(job type, identity): its jobs, in the order of the log}."""
        found: dict[tuple[bytes, bytes], list[Arrival]] = defaultdict(list)
        for record in read_topic(self.cluster, self.queue.topic, self.queue.partitions):
            headers = headers_of(record)
            arrival = Arrival(headers[JOB_ID].decode(), record.timestamp()[1])
            found[headers[JOB_TYPE], bytes(record.key() or b"")].append(arrival)
        return found

    def noted(self, what: str) -> dict[str, list[int]]:
        """{job id: when its runs began, or came to their ends}."""
        found: dict[str, list[int]] = defaultdict(list)
        for line in self.runs.read_text().splitlines():
            kind, job_id, at_ms = line.split()
            if kind == what:
                found[job_id].append(int(at_ms))
        return found


@contextmanager
def account(cluster: ClusterSettings, namespace: str, folder: Path) -> Iterator[Account]:
    """An account whose processes end with the test."""
    made = Account(cluster, namespace, folder)
    try:
        yield made
    finally:
        for process in list(made.processes):
            made.kill(process)


def storm(made: Account, kills: int, seed: int) -> None:
    """Enqueue without a pause while workers are killed and started; then let the last ones work off what is there."""
    chance, over = random.Random(seed), threading.Event()
    sender = threading.Thread(target=made.enqueue_until, args=(over, random.Random(seed + 1)))
    for _ in range(2):
        made.start()
    sender.start()
    try:
        for _ in range(kills):
            time.sleep(2 + 2 * chance.random())
            made.kill(chance.choice(made.processes))
            made.start()
    finally:
        over.set()
        sender.join()
    wait_all_committed(made.cluster, made.queue, 90)


def assert_dropped(jobs: Sequence[Arrival], ended: dict[str, list[int]]) -> int:
    """Of the jobs of an identity none ran that had arrived before an earlier one had ended; returns how many ran."""
    ran = [job for job in jobs if job.job_id in ended]
    for earlier, later in pairwise(ran):
        assert min(ended[earlier.job_id]) <= later.at_ms + CLOCK_MS, (earlier, later)
    assert ran[0] == jobs[0], "nobody was in the way of the first one"
    return len(ran)


def assert_kept_last(jobs: Sequence[Arrival], begun: dict[str, list[int]]) -> None:
    """The last job ran; and of each that did not, a later one began after it had arrived."""
    assert jobs[-1].job_id in begun, "the last one is never superfluous"
    for at, job in enumerate(jobs):
        later = [at_ms for other in jobs[at:] for at_ms in begun.get(other.job_id, ())]
        assert max(later) >= job.at_ms - CLOCK_MS


def assert_account(made: Account) -> None:
    """Each mode holds for each identity, and jobs have been dropped at all."""
    begun, ended = made.noted("begin"), made.noted("end")
    for (job_type, _), jobs in made.arrivals().items():
        if job_type == b"first":
            assert assert_dropped(jobs, ended) < len(jobs)
        elif job_type == b"last":
            assert_kept_last(jobs, begun)
        else:
            assert [job for job in jobs if job.job_id in begun] == jobs[:1], "one in an hour"


def test_killed_workers_decide_as_one_that_lives(cluster: ClusterSettings, namespace: str, tmp_path: Path) -> None:
    """The next owner knows who waits, runs and has ended."""
    with account(cluster, namespace, tmp_path) as made:
        storm(made, 4, seed=14)
        assert_account(made)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(5))
def test_a_long_storm(cluster: ClusterSettings, namespace: str, tmp_path: Path, seed: int) -> None:
    """As above, with forty kills."""
    with account(cluster, namespace, tmp_path) as made:
        storm(made, 40, seed)
        assert_account(made)
