"""Worker processes that obey control, and what their jobs have noted in a file."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from stoker.producers import Producer
from stoker.producers.control import Answers
from stoker.producers.control.standing import read_workers
from stoker.topology import ClusterSettings, Pipeline, Queue
from support.program import TESTS, program
from support.programs import ordered_worker
from support.scenes.worker import create
from support.waiting import wait_until

DEADLINE_S = 90.0
WAIT = timedelta(seconds=60)


@dataclass
class Scene:
    """Worker processes, and what their jobs have noted."""

    cluster: ClusterSettings
    namespace: str
    runs: Path
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, worker: str, *, dies: str = "") -> subprocess.Popen[bytes]:
        """Start a worker; `dies` is where it kills itself."""
        arguments = [self.cluster.bootstrap_servers, self.namespace, str(self.runs), worker, *filter(None, [dies])]
        process = subprocess.Popen([*program("ordered_worker"), *arguments], cwd=TESTS, stderr=subprocess.DEVNULL)
        self.processes[worker] = process
        return process

    def wait_states(self, pipeline: Pipeline, **states: str) -> None:
        """Wait until the latest process of each of these workers has said this of itself."""
        wanted = {self.processes[worker].pid: state for worker, state in states.items()}

        def said() -> dict[int, str]:
            return {seen.status.pid: seen.status.state for seen in read_workers(pipeline, self.cluster).statuses}

        wait_until(lambda: wanted.items() <= said().items(), DEADLINE_S, f"{states}")

    def begun(self) -> list[tuple[float, str, int]]:
        """(when, worker, number) of each run whose line is written to its end."""
        found = [line.split() for line in self.runs.read_text().rpartition("\n")[0].splitlines()]
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

    def wait_begun(self, numbers: set[int]) -> None:
        """Wait until these jobs have begun."""
        wait_until(lambda: numbers <= self.done(), DEADLINE_S, "the jobs")

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
        mail = pipeline.job_types["mail"]
        producer.enqueue_many(mail.with_options(job_id=job_id(number)).call(number) for number in numbers)


def job_id(number: int) -> str:
    """Of the job with this number."""
    return f"mail-{number}"


def workers_of(answers: Answers) -> set[str]:
    """Who has taken an order."""
    return {answer.worker for answer in answers.taken}
