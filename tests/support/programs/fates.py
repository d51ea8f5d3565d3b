"""A worker in a process of its own whose jobs meet every fate, and note each run in a file beside Stoker.

Arguments: bootstrap servers, namespace. The file of runs is named by the environment: children inherit it.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Final

from stoker.consumers import Discard, Snooze, Worker, WorkerSettings, current_job
from stoker.topology import ClusterSettings, JobType, Pipeline, Queue, RetryPolicy
from support.programs.crashing_worker import note_run

RUNS: Final = "STOKER_TESTS_RUNS"
TIERS: Final = (timedelta(milliseconds=300), timedelta(seconds=1))
FATES: Final[Mapping[str, str]] = {
    "done": "done",
    "again": "done",
    "snoozes": "done",
    "dead": "dead",
    "dropped": "dead-discarded",
    "replayed": "done",
    "discards": "discarded",
    "expires": "expired",
    "cancelled": "cancelled",
    "delayed": "delayed",
    "crashes": "dead",
}
"""{fate: the state in which its jobs end}."""


def _note(what: str) -> None:
    job = current_job()
    note_run(Path(os.environ[RUNS]), f"{job.job_id} {job.attempt} {what}")


def is_fixed() -> bool:
    """Whether what failed for the jobs to be replayed is fixed by now."""
    return Path(os.environ[RUNS]).with_suffix(".fixed").exists()


def act(number: int, fate: str) -> None:
    """Meet the fate."""
    _note("begun")
    fails = {"dead": True, "dropped": True, "again": current_job().attempt == 1, "replayed": not is_fixed()}
    if fails.get(fate):
        raise ValueError(f"card of {number} declined")
    if fate == "discards":
        raise Discard("nobody wants it")
    first = Path(os.environ[RUNS]).with_suffix(f".{number}")
    if fate == "snoozes" and not first.exists():
        first.touch()
        raise Snooze(timedelta(milliseconds=200))
    _note("done")


def crash(number: int, fate: str) -> None:
    """End the process that it runs in."""
    _note("begun")
    os.kill(os.getpid(), signal.SIGKILL)


def declare(namespace: str) -> tuple[Pipeline, Queue, Mapping[str, JobType[[int, str], None]]]:
    """One queue, and {fate: its job type}."""
    pipeline = Pipeline(namespace)
    queue = pipeline.queue("work", partitions=4, tiers=TIERS, retry=RetryPolicy(attempts=2), crash_limit=2)
    acting = pipeline.job(queue, name="act", tenant="fate")(act)
    crashing = pipeline.job(queue, name="crash", tenant="fate", isolation="process")(crash)
    return pipeline, queue, {fate: crashing if fate == "crashes" else acting for fate in FATES}


def main() -> None:
    """Work until killed."""
    servers, namespace = sys.argv[1:]
    pipeline, _, _ = declare(namespace)
    Worker(pipeline, ClusterSettings(bootstrap_servers=servers), WorkerSettings(concurrency=8)).run()


if __name__ == "__main__":
    main()
