"""A worker in a process of its own, of whose jobs one kills the process that it runs in.

Arguments: bootstrap servers, namespace. The file of runs is named by the environment.
"""

from __future__ import annotations

import os
import signal
import sys
from datetime import timedelta
from pathlib import Path

from stoker.consumers import Worker, WorkerSettings, current_job
from stoker.topology import ClusterSettings, JobType, Pipeline, Queue
from support.programs.crashing_worker import note_run

RUNS = "STOKER_TESTS_RUNS"
TIERS = (timedelta(milliseconds=300),)


def act(number: int, deadly: bool) -> None:
    """Note the run, and kill the process if this is the one."""
    job = current_job()
    note_run(Path(os.environ[RUNS]), f"{number} {job.attempt} {os.getpid()}")
    if deadly:
        os.kill(os.getpid(), signal.SIGSEGV)


def declare(namespace: str) -> tuple[Pipeline, Queue, JobType[[int, bool], None]]:
    """One queue of two partitions."""
    pipeline = Pipeline(namespace)
    queue = pipeline.queue("work", partitions=2, tiers=TIERS, session_timeout=timedelta(seconds=2))
    return pipeline, queue, pipeline.job(queue, name="act")(act)


def main() -> None:
    """Work until killed."""
    servers, namespace = sys.argv[1:]
    pipeline, _, _ = declare(namespace)
    Worker(
        pipeline, ClusterSettings(bootstrap_servers=servers), WorkerSettings(concurrency=4, isolated_concurrency=1)
    ).run()


if __name__ == "__main__":
    main()
