"""A worker in a process of its own whose topics keep records for some seconds; its jobs note their runs in a file.

Arguments: bootstrap servers, namespace, order, file of runs, file that lets all go once it exists.
"""

from __future__ import annotations

import sys
import threading
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple, cast

from stoker.consumers import Snooze, Worker, WorkerSettings
from stoker.topology import ClusterSettings, JobType, Pipeline, Queue
from stoker.topology.declaration.queue import Ordering
from support.programs.crashing_worker import note_run

PAUSED = "mail"
RETENTION = timedelta(seconds=4)
NAP = timedelta(seconds=10)
"""Longer than twice the retention."""
Handler = JobType[[int], None]


class Declared(NamedTuple):
    """What the worker and the test share."""

    pipeline: Pipeline
    queue: Queue
    mail: Handler
    call: Handler
    nap: Handler


def declare(namespace: str, ordering: Ordering, runs: Path, release: Path) -> Declared:
    """A type that is paused, one whose job 0 holds its key up, and one whose jobs snooze once."""
    pipeline = Pipeline(namespace)
    tiers = (timedelta(milliseconds=500),)
    queue = pipeline.queue("work", partitions=2, tiers=tiers, retention=RETENTION, ordering=ordering)

    @pipeline.job(queue)
    def mail(number: int) -> None:
        note_run(runs, f"mail {number}")

    @pipeline.job(queue, timeout=timedelta(hours=1))
    def call(number: int) -> None:
        while number == 0 and not release.exists():
            threading.Event().wait(0.02)
        note_run(runs, f"call {number}")

    @pipeline.job(queue)
    def nap(number: int) -> None:
        has_slept = f"asleep {number}" in runs.read_text().splitlines()
        note_run(runs, f"nap {number}" if has_slept else f"asleep {number}")
        if not has_slept:
            raise Snooze(NAP)

    return Declared(pipeline, queue, mail, call, nap)


def resume_after(worker: Worker, release: Path) -> None:
    """Wait for the file."""
    while not release.exists():
        threading.Event().wait(0.02)
    worker.resume("work", job_type=PAUSED)


def main() -> None:
    """Work until killed."""
    servers, namespace, ordering, runs, release = sys.argv[1:]
    declared = declare(namespace, cast(Ordering, ordering), Path(runs), Path(release))
    worker = Worker(declared.pipeline, ClusterSettings(bootstrap_servers=servers), WorkerSettings(concurrency=4))
    worker.pause("work", job_type=PAUSED)
    threading.Thread(target=resume_after, args=(worker, Path(release)), daemon=True).start()
    worker.run()


if __name__ == "__main__":
    main()
