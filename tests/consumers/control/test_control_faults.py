"""On a real broker, with processes that are killed and frozen: orders hold from the answers on, nothing is lost."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from stoker.producers import Producer
from stoker.producers.control import Answers, Control
from stoker.producers.control.standing import read_workers
from stoker.schemas.control_records import WorkerState
from stoker.topology import ClusterSettings, Pipeline, Queue
from support.program import TESTS, program
from support.programs import ordered_worker
from support.scenes.worker import create, wait_all_committed
from support.waiting import wait_until

DEADLINE_S = 90.0
WAIT = timedelta(seconds=60)
MANY = 300

pytestmark = pytest.mark.timeout(300)  # each worker is a process, on a machine that may do much else


@dataclass
class Scene:
    """Worker processes, and what their jobs have noted."""

    cluster: ClusterSettings
    namespace: str
    runs: Path
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, worker: str) -> subprocess.Popen[bytes]:
        """Start a worker."""
        arguments = [self.cluster.bootstrap_servers, self.namespace, str(self.runs), worker]
        process = subprocess.Popen([*program("ordered_worker"), *arguments], cwd=TESTS, stderr=subprocess.DEVNULL)
        self.processes[worker] = process
        return process

    def wait_states(self, pipeline: Pipeline, **states: str) -> None:
        """Wait until the latest process of each of these workers has said this of itself."""
        wanted = {self.processes[worker].pid: state for worker, state in states.items()}

        def said() -> dict[int, str]:
            return {heard.status.pid: heard.status.state for heard in read_workers(pipeline, self.cluster).heard}

        wait_until(lambda: wanted.items() <= said().items(), DEADLINE_S, f"{states}")

    def begun(self) -> list[tuple[float, str, int]]:
        """(when, worker, number) of each run."""
        found = [line.split() for line in self.runs.read_text().splitlines()]
        return [(float(at), worker, int(number)) for at, worker, number in found]

    def done(self) -> set[int]:
        """The numbers of the jobs that ran."""
        return {number for _, _, number in self.begun()}

    def wait_some(self, numbers: range) -> None:
        """Wait until one of these jobs has begun."""
        wait_until(lambda: self.done() & set(numbers), DEADLINE_S, "the first jobs")

    def wait_done(self, numbers: range) -> None:
        """Wait until these jobs have begun, and no others."""
        wait_until(lambda: self.done() == set(numbers), DEADLINE_S, "all jobs")

    def ran_between(self, begin_s: float, end_s: float) -> list[tuple[float, str, int]]:
        """What began in this time."""
        return [run for run in self.begun() if begin_s < run[0] < end_s]


@contextmanager
def scene_of(cluster: ClusterSettings, namespace: str, folder: Path) -> Iterator[tuple[Scene, Pipeline, Queue]]:
    """Begin without workers; all that were started are killed in the end."""
    runs = folder / "runs"
    runs.touch()
    pipeline, queue, _ = ordered_worker.declare(namespace, runs)
    create(pipeline, cluster)
    scene = Scene(cluster, namespace, runs)
    try:
        yield scene, pipeline, queue
    finally:
        for process in scene.processes.values():
            process.kill()
            process.wait()


def enqueue(pipeline: Pipeline, cluster: ClusterSettings, numbers: range) -> None:
    """Jobs with these numbers."""
    with Producer(pipeline, cluster) as producer:
        producer.enqueue_many(pipeline.job_types["mail"].call(number) for number in numbers)


def workers_of(answers: Answers) -> set[str]:
    """Who has taken an order."""
    return {answer.worker for answer in answers.taken}


def test_pauses_hold_from_their_answers_on_while_workers_are_killed(
    cluster: ClusterSettings, namespace: str, tmp_path: Path
) -> None:
    """No job begins between the answer of all and the order to resume, whoever dies; in the end all have run."""
    with (
        scene_of(cluster, namespace, tmp_path) as (scene, pipeline, queue),
        Control(pipeline, cluster, operator="ann") as control,
    ):
        scene.start("w0")
        scene.start("w1")
        scene.wait_states(pipeline, w0="running", w1="running")
        for turn in range(2):
            jobs = range(turn * 2 * MANY, (turn * 2 + 1) * MANY)
            enqueue(pipeline, cluster, jobs)
            scene.wait_some(jobs)
            answers = control.pause(queue="work", reason=f"turn {turn}").wait(WAIT, lambda found: bool(found.taken))
            taken, answered_s = workers_of(answers), time.time()
            enqueue(pipeline, cluster, range(jobs.stop, jobs.stop + MANY))
            scene.processes[f"w{turn}"].kill()
            scene.processes[f"w{turn}"].wait()
            scene.start(f"w{turn}")
            scene.wait_states(pipeline, **{f"w{turn}": "running"})
            resumed_s = time.time()
            control.resume(queue="work")
            assert not [run for run in scene.ran_between(answered_s, resumed_s) if run[1] in taken]
            scene.wait_done(range(jobs.stop + MANY))
        wait_all_committed(cluster, queue, DEADLINE_S)


def test_a_worker_that_starts_takes_the_orders_before_its_first_job(
    cluster: ClusterSettings, namespace: str, tmp_path: Path
) -> None:
    """However often it is killed as it starts."""
    with (
        scene_of(cluster, namespace, tmp_path) as (scene, pipeline, queue),
        Control(pipeline, cluster) as control,
    ):
        control.pause(queue="work")
        enqueue(pipeline, cluster, range(100))
        for _ in range(2):
            process = scene.start("w1")
            scene.wait_states(pipeline, w1="running")
            process.kill()
            process.wait()
        scene.start("w1")
        scene.start("w2")
        wait_until(lambda: _partitions(pipeline, cluster) == 4, DEADLINE_S, "the partitions")
        assert scene.begun() == []
        control.resume(queue="work").wait(WAIT, lambda found: {"w1", "w2"} <= workers_of(found))
        scene.wait_done(range(100))
        wait_all_committed(cluster, queue, DEADLINE_S)


def _partitions(pipeline: Pipeline, cluster: ClusterSettings) -> int:
    """How many partitions the living workers have."""
    heard = [one for one in read_workers(pipeline, cluster).heard if one.is_living(time.time())]
    return len({number for one in heard for share in one.status.queues for number in share.partitions})


def test_a_frozen_worker_is_named_and_takes_the_order_when_it_goes_on(
    cluster: ClusterSettings, namespace: str, tmp_path: Path
) -> None:
    """The wait does not pass over it, and ends with how long it has been silent."""
    with (
        scene_of(cluster, namespace, tmp_path) as (scene, pipeline, _),
        Control(pipeline, cluster) as control,
    ):
        frozen = scene.start("frozen")
        scene.start("awake")
        scene.wait_states(pipeline, frozen="running", awake="running")
        frozen.send_signal(signal.SIGSTOP)
        try:
            receipt = control.pause(queue="work")
            answers = receipt.wait(timedelta(seconds=60), lambda found: "awake" in workers_of(found))
            (missing,) = receipt.wait(timedelta(seconds=2)).missing
            assert not answers.is_taken_by_all
            assert (missing.worker, missing.is_taken, missing.is_understood) == ("frozen", False, True)
            assert missing.silent_s >= 2
        finally:
            frozen.send_signal(signal.SIGCONT)
        assert workers_of(receipt.wait(WAIT)) == {"frozen", "awake"}


def test_workers_are_quiet_and_stop_by_order(cluster: ClusterSettings, namespace: str, tmp_path: Path) -> None:
    """One by its id; a worker that starts after the order to stop works."""
    with (
        scene_of(cluster, namespace, tmp_path) as (scene, pipeline, queue),
        Control(pipeline, cluster) as control,
    ):
        one, two = scene.start("one"), scene.start("two")
        scene.wait_states(pipeline, one="running", two="running")
        control.worker_quiet(worker="one", reason="deploy").wait(WAIT)
        control.worker_stop(worker="two")
        assert two.wait(DEADLINE_S) == 0
        scene.wait_states(pipeline, one="quiet", two=WorkerState.GONE)
        enqueue(pipeline, cluster, range(20))
        answers = control.worker_inspect(worker="one").wait(WAIT, lambda found: bool(found.answers[0].inspection))
        assert '"queue": "work"' in answers.answers[0].inspection
        assert scene.begun() == []
        scene.start("two")
        scene.wait_states(pipeline, one="quiet", two="running")
        control.worker_work(worker="one").wait(WAIT)
        scene.wait_done(range(20))
        wait_all_committed(cluster, queue, DEADLINE_S)
        control.worker_stop()
        assert [process.wait(DEADLINE_S) for process in (one, scene.processes["two"])] == [0, 0]


@pytest.mark.parametrize("turns", [3])
def test_a_pause_holds_through_a_storm_of_rebalances(
    cluster: ClusterSettings, namespace: str, tmp_path: Path, turns: int
) -> None:
    """Workers come and go: none of their jobs begins, and all run after the order is lifted."""
    with (
        scene_of(cluster, namespace, tmp_path) as (scene, pipeline, queue),
        Control(pipeline, cluster) as control,
    ):
        scene.start("w0")
        scene.wait_states(pipeline, w0="running")
        control.pause(job_type="mail").wait(WAIT)
        enqueue(pipeline, cluster, range(500))
        for turn in range(1, turns + 1):
            scene.start(f"w{turn}")
            scene.wait_states(pipeline, **{f"w{turn}": "running"})
            scene.processes[f"w{turn - 1}"].send_signal(signal.SIGTERM)
        assert scene.begun() == []
        control.resume(job_type="mail")
        scene.wait_done(range(500))
        wait_all_committed(cluster, queue, DEADLINE_S)
        assert len(scene.begun()) == 500
