"""`Scene`: topics, notes, a publisher and one worker at a time, for a measure of jobs that wait."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from cluster import Site
from jobs import PARTITIONS
from resident import ResidentPeak

from pending.jobs import (
    NAMESPACE_VARIABLE,
    NOTES_VARIABLE,
    ORDERING_VARIABLE,
    RELEASE_VARIABLE,
    SESSION_VARIABLE,
    declare,
)
from pending.notes import Notes
from pending.publishing import PendingJob, Publisher
from pending.worker_process import WorkerProcess
from stoker.producers.control import Control
from stoker.topology import Pipeline
from stoker.topology.declaration.queue import Ordering

KEYS: Final = 5_000
WARM_UP: Final = 2_000
IDLE_S: Final = 3.0
BATCHES: Final = 3
STANDSTILL_S: Final = 60.0
"""Jobs of which none begins for so long are not waited for any more."""
PRINT_S: Final = 10.0
_LOOK_S: Final = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Jobs that are published together.

    Attributes:
        numbers: theirs, one after another.
        job: makes the job of a number.
    """

    numbers: range
    job: Callable[[int], PendingJob]


class Scene:
    """Everything that a measure of jobs that wait needs."""

    def __init__(self, site: Site, pipeline: Pipeline, capacity: int) -> None:
        self._site, self._name, self._pipeline = site, pipeline.namespace, pipeline
        self._publisher = Publisher(pipeline, site.cluster)
        self._notes_path = site.folder / f"{self._name}.notes"
        self._release = site.folder / f"{self._name}.release"
        self._variables = {
            NAMESPACE_VARIABLE: pipeline.namespace,
            NOTES_VARIABLE: str(self._notes_path),
            RELEASE_VARIABLE: str(self._release),
        }
        for queue in pipeline.queues.values():
            self._variables[ORDERING_VARIABLE] = queue.ordering
            if queue.session_timeout is not None:
                self._variables[SESSION_VARIABLE] = str(queue.session_timeout.total_seconds())
        self._workers: list[WorkerProcess] = []
        self._taken = 0
        self.notes = Notes.create(self._notes_path, capacity)
        self.began_at_s = time.time()

    # ---- the worker

    @property
    def worker(self) -> WorkerProcess:
        """The one that runs now."""
        return self._workers[-1]

    def start_worker(self) -> float:
        """Start a worker; returns when it got its partitions, in seconds since 1970."""
        log = self._site.folder / f"{self._name}-{len(self._workers)}.log"
        self._workers.append(WorkerProcess(self._site.cluster.bootstrap_servers, self._variables, log))
        return self.worker.wait_assigned()

    def warm_up(self) -> None:
        """Let a new worker run some jobs, since clients still connect and ledgers are restored."""
        jobs = self.others(WARM_UP)
        self.publish(jobs)
        self.wait_begun(jobs.numbers, "jobs to warm up")

    def memory(self) -> ResidentPeak:
        """Watch the worker's memory."""
        return ResidentPeak(self.worker.process_id)

    def kill(self) -> float:
        """Kill the worker, and return when: seconds since 1970."""
        self.worker.kill()
        self.print_progress("the worker is killed")
        return time.time()

    def release(self) -> float:
        """Let the blocking job end, and return when: seconds since 1970."""
        self._release.touch()
        return time.time()

    def control(self) -> Control:
        """What gives orders to the worker."""
        return Control(self._pipeline, self._site.cluster, operator="bench")

    def close(self) -> None:
        """End the worker."""
        self.release()
        for worker in self._workers:
            worker.close()

    # ---- jobs

    def others(self, count: int) -> Batch:
        """Jobs of many keys, none of which is in the way of another for long."""
        return self.batch(
            count,
            lambda number: PendingJob(number=number, key=f"customer-{number % KEYS}", since_s=self.began_at_s),
        )

    def of_key(self, key: str, count: int) -> Batch:
        """Jobs of one key."""
        return self.batch(count, lambda number: PendingJob(number=number, key=key, since_s=self.began_at_s))

    def one_of_key(self, key: str, job_type: str, job_id: str) -> Batch:
        """One job of a key, of another type than the plain one."""
        return self.batch(
            1,
            lambda number: PendingJob(
                number=number, key=key, since_s=self.began_at_s, job_type=job_type, job_id=job_id
            ),
        )

    def last_of_partitions(self) -> Batch:
        """One job for each partition: when all have begun, the worker has seen what was published before them."""
        return self.batch(
            PARTITIONS,
            lambda number: PendingJob(
                number=number, key=f"last-{number}", since_s=self.began_at_s, partition=number % PARTITIONS
            ),
        )

    def batch(self, count: int, job: Callable[[int], PendingJob]) -> Batch:
        """Jobs with numbers that no other has."""
        self._taken += count
        return Batch(numbers=range(self._taken - count, self._taken), job=job)

    @property
    def numbers(self) -> range:
        """Those of all jobs."""
        return range(self._taken)

    def publish(self, batch: Batch) -> None:
        """Publish jobs while the worker goes on."""
        self._publisher.publish(map(batch.job, batch.numbers))

    def publish_frozen(self, batch: Batch) -> None:
        """Publish jobs while the worker stands still, so that the publishing takes nothing from it."""
        with self.worker.frozen():
            self.publish(batch)

    # ---- what became of them

    def wait_begun(self, numbers: range, what: str, *, limit_s: float = math.inf, share: float = 1.0) -> float:
        """Wait until so many jobs have begun, none does any more, or the limit is over; returns the seconds it took."""
        began_at_s = moved_at_s = printed_at_s = now_s = time.monotonic()
        wanted, total, seen = share * len(numbers), len(numbers), 0
        while seen < wanted and now_s < min(began_at_s + limit_s, moved_at_s + STANDSTILL_S):
            time.sleep(_LOOK_S)
            self.worker.check_runs()
            now_s, before, seen = time.monotonic(), seen, self.notes.begun(numbers)
            if seen > before:
                moved_at_s = now_s
            if now_s - printed_at_s > PRINT_S:
                printed_at_s = now_s
                self.print_progress(f"{seen:,} of {total:,} {what} have begun")
        self.print_progress(f"{seen:,} of {total:,} {what} have begun, after {now_s - began_at_s:.1f} s")
        return now_s - began_at_s

    def wait_until(self, at_s: float, numbers: range, what: str) -> None:
        """Wait for a moment, in seconds since 1970, and say now and then how many have begun."""
        while (left_s := at_s - time.time()) > 0:
            time.sleep(min(left_s, PRINT_S))
            self.print_progress(f"{self.notes.begun(numbers):,} of {len(numbers):,} {what} have begun")

    def wait_all_begun(self) -> None:
        """Wait until every job has begun, or none does any more."""
        self.wait_begun(self.numbers, "jobs in all")

    def rate_per_s(self, make: Callable[[], Batch], what: str, limit_s: float = math.inf) -> float:
        """Publish jobs while the worker stands still, and give how many begin a second when it goes on.

        It is the median of several batches, or that of the first which does not begin within the limit.
        """
        rates: list[float] = []
        for _ in range(BATCHES):
            batch = make()
            self.publish_frozen(batch)
            waited_s = self.wait_begun(batch.numbers, what, limit_s=limit_s)
            rate = self.begun_per_s(batch.numbers, waited_s)
            if self.notes.begun(batch.numbers) < len(batch.numbers):
                return rate
            rates.append(rate)
        return statistics.median(rates)

    def begun_per_s(self, numbers: range, waited_s: float) -> float:
        """Jobs begun a second: from the first to the last, or where some have not begun, in all the time waited."""
        begun_at_s = self.begun_at_s(numbers)
        if len(begun_at_s) < len(numbers):
            return len(begun_at_s) / waited_s
        return len(begun_at_s) / max(1e-3, max(begun_at_s) - min(begun_at_s))

    def begun_at_s(self, numbers: range) -> list[float]:
        """When the begun ones of these undelayed jobs did so, in seconds since 1970, in the order of their numbers."""
        noted = zip(self.notes.seconds(numbers), self.notes.runs(numbers), strict=True)
        return [self.began_at_s + after_s for after_s, runs in noted if runs]

    def print_progress(self, progress: str) -> None:
        """Print a line for people who wait."""
        self._site.progress(f"  {time.time() - self.began_at_s:6.1f} s  {progress}")


@contextmanager
def open_scene(site: Site, session_s: float | None, capacity: int, ordering: Ordering = "key") -> Iterator[Scene]:
    """Set a scene for at most `capacity` jobs; its worker is ended and its topics deleted afterwards."""
    with site.topics_of(lambda namespace: declare(namespace, session_s, ordering=ordering)) as pipeline:
        scene = Scene(site, pipeline, capacity)
        try:
            yield scene
        finally:
            scene.close()
