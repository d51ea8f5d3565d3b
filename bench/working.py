"""The processes that run a worker: through a backlog as fast as it goes, or idle with a job now and then."""

from __future__ import annotations

import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from backlog import Backlog
from jobs import PARTITIONS, QUEUE
from part import Part, Result, Say, only_queue

from stoker.consumers import Worker, WorkerSettings
from stoker.topology import Pipeline

LANES: Final = 16
BRIEF_LANES: Final = 32
"""For jobs that wait: a lane is a thread."""
PATIENCE_S: Final = 60.0
READER: Final = Path(__file__).parent / "sight" / "reader.py"
_LOOK_S: Final = 0.02
_WARM_RATIO: Final = 0.1
"""Of the jobs: while these run, clients still connect, and what is done once for all jobs is done."""
_RSS_UNIT_BYTES: Final = 1_024  # Linux counts in KiB


class WorkerStoodStill(Exception):
    """A worker made no progress for so long that the measurement cannot be."""

    def __init__(self, awaited: str, seen: object) -> None:
        super().__init__(f"waited {PATIENCE_S:g} s for {awaited}; last seen: {seen}")


def drain(part: Part, _say: Say) -> Result:
    """Work through the backlog; timed from the last look at which nothing was settled until all is committed."""
    return _drain(part, WorkerSettings(concurrency=BRIEF_LANES if part.kind == "brief" else LANES, queues=(QUEUE,)))


def drain_without_events(part: Part, _say: Say) -> Result:
    """As `drain`, by a worker that publishes no events of jobs that are done."""
    return _drain(part, WorkerSettings(concurrency=LANES, done_events=False))


def drain_counted(part: Part, _say: Say) -> Result:
    """As `drain`, by a worker that counts for its metrics, which nobody reads."""
    pipeline = part.pipeline()
    worker = Worker(pipeline, part.cluster, WorkerSettings(concurrency=LANES))
    worker.measure()
    return run_watched(worker, lambda: _drained(part, pipeline, worker))


def drain_measured(part: Part, _say: Say) -> Result:
    """As `drain`, by a worker whose metrics another process reads every second."""
    pipeline = part.pipeline()
    worker = Worker(pipeline, part.cluster, WorkerSettings(concurrency=LANES))
    with worker.serve_metrics(0) as server:
        reader = subprocess.Popen([sys.executable, str(READER), str(server.port)])
        try:
            return run_watched(worker, lambda: _drained(part, pipeline, worker))
        finally:
            reader.kill()
            reader.wait()


def _drain(part: Part, settings: WorkerSettings) -> Result:
    pipeline = part.pipeline()
    worker = Worker(pipeline, part.cluster, settings)
    return run_watched(worker, lambda: _drained(part, pipeline, worker))


def serve(part: Part, say_ready: Say) -> Result:
    """Be idle but for paced jobs, and give what their handlers noted."""
    noted: list[float] = []
    worker = Worker(part.pipeline(noted.append), part.cluster, WorkerSettings(concurrency=LANES))

    def served() -> Result:
        _wait(lambda: len(worker.snapshot()[0].partitions) == PARTITIONS, "its partitions", worker.snapshot)
        say_ready()
        _wait_count(lambda: len(noted), part.jobs, "noted jobs")
        return {"seconds": noted}

    return run_watched(worker, served)


def run_watched(worker: Worker, watch: Callable[[], Result]) -> Result:
    """Run the worker in the main thread, as its command does, while another thread watches it and then stops it."""
    found: list[Result] = []

    def watch_and_stop() -> None:
        try:
            found.append(watch())
        finally:
            worker.stop()

    watching = threading.Thread(target=watch_and_stop)
    watching.start()
    worker.run()
    watching.join()
    return found[0]


def _drained(part: Part, pipeline: Pipeline, worker: Worker) -> Result:
    def settled() -> int:
        return worker.snapshot()[0].settled

    began_at_s, cpu_began_s = _last_idle(settled)
    before = _wait_count(settled, round(part.jobs * _WARM_RATIO), "settled jobs")
    warm_s, cpu_warm_s = time.perf_counter() - began_at_s, time.process_time() - cpu_began_s
    if before == part.jobs:  # so few that no look came amid them: all of them count
        before, warm_s, cpu_warm_s = 0, 0.0, 0.0
    _wait_count(settled, part.jobs, "settled jobs")
    settled_s, cpu_s = time.perf_counter() - began_at_s, time.process_time() - cpu_began_s
    _wait_committed(part, pipeline)
    return {
        "jobs_per_s": part.jobs / (time.perf_counter() - began_at_s),
        "settled_per_s": part.jobs / settled_s,
        "warm_per_s": (part.jobs - before) / (settled_s - warm_s),
        "warm_cpu_us": (cpu_s - cpu_warm_s) / (part.jobs - before) * 1e6,
        "cpu_us": cpu_s / part.jobs * 1e6,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RSS_UNIT_BYTES / 1e6,
    }


def _last_idle(settled: Callable[[], int]) -> tuple[float, float]:
    """The last look at which nothing was settled: wall clock and the process's CPU time, in seconds."""
    give_up_at_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < give_up_at_s:
        looked = time.perf_counter(), time.process_time()
        time.sleep(_LOOK_S)
        if settled():
            return looked
    raise WorkerStoodStill("the first settled job", 0)


def _wait_count(count: Callable[[], int], expected: int, what: str) -> int:
    """Wait for a count to be reached, as long as it grows; returns what it is then."""
    seen, give_up_at_s = count(), time.monotonic() + PATIENCE_S
    while seen < expected:
        time.sleep(_LOOK_S)
        before, seen = seen, count()
        if seen > before:
            give_up_at_s = time.monotonic() + PATIENCE_S
        elif time.monotonic() > give_up_at_s:
            raise WorkerStoodStill(f"{expected:,} {what}", seen)
    return seen


def _wait(condition: Callable[[], bool], awaited: str, seen: Callable[[], object]) -> None:
    give_up_at_s = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > give_up_at_s:
            raise WorkerStoodStill(awaited, seen())
        time.sleep(_LOOK_S)


def _wait_committed(part: Part, pipeline: Pipeline) -> None:
    backlog = Backlog(part.cluster, only_queue(pipeline))
    _wait(lambda: not backlog.uncommitted(), "the commit of all jobs", backlog.uncommitted)
    backlog.close()
