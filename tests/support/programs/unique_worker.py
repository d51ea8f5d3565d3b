"""A worker of unique jobs, for tests that kill it. Its jobs note their begins and ends in a file.

Arguments: bootstrap servers, namespace, file of runs.
"""

from __future__ import annotations

import os
import sys
import time
from datetime import timedelta
from pathlib import Path

from stoker.consumers import Worker, WorkerSettings, current_job
from stoker.topology import ClusterSettings, JobType, Pipeline, Queue, Unique
from support.programs.crashing_worker import note_run

Act = JobType[[str, int], None]


def declare(namespace: str, runs: Path) -> tuple[Pipeline, Queue, tuple[Act, Act, Act]]:
    """Jobs of which the new one is dropped while one waits or runs; of which the last is kept; and one in an hour."""
    pipeline = Pipeline(namespace)
    queue = pipeline.queue("work", partitions=3)

    def note(what: str) -> None:
        note_run(runs, f"{what} {current_job().job_id} {time.time() * 1_000:.0f}")

    @pipeline.job(queue, unique=Unique(by="customer"))
    def first(customer: str, number: int) -> None:
        note("begin")
        time.sleep(0.03)
        note("end")

    @pipeline.job(queue, unique=Unique(by="customer", on_conflict="replace", while_=("waiting",)))
    def last(customer: str, number: int) -> None:
        note("begin")
        time.sleep(0.03)
        note("end")

    @pipeline.job(queue, unique=Unique(by="customer", while_=(), within=timedelta(hours=1)))
    def hourly(customer: str, number: int) -> None:
        note("begin")
        time.sleep(0.03)
        note("end")

    return pipeline, queue, (first, last, hourly)


def main() -> None:
    """Work until killed."""
    servers, namespace, runs = sys.argv[1:]
    pipeline, *_ = declare(namespace, Path(runs))
    settings = WorkerSettings(concurrency=4, worker_id=f"w{os.getpid()}")
    Worker(pipeline, ClusterSettings(bootstrap_servers=servers), settings).run()


if __name__ == "__main__":
    main()
