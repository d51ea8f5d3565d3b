"""A worker in a process of its own with a paused job type; its jobs note their runs in a file.

Arguments: bootstrap servers, namespace, file of runs, file that ends the pause once it exists.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from stoker.consumers import Worker, WorkerSettings
from stoker.topology import ClusterSettings, JobType, Pipeline, Queue
from support.programs.crashing_worker import note_run

PAUSED = "mail"
MAX_IN_FLIGHT = 40
"""Far more is paused than may be in memory."""


def declare(namespace: str, runs: Path) -> tuple[Pipeline, Queue, JobType[[int], None], JobType[[int], None]]:
    """Two types of jobs on one queue."""
    pipeline = Pipeline(namespace)
    queue = pipeline.queue("work", partitions=2)

    @pipeline.job(queue)
    def mail(number: int) -> None:
        note_run(runs, f"mail {number}")

    @pipeline.job(queue)
    def call(number: int) -> None:
        note_run(runs, f"call {number}")

    return pipeline, queue, mail, call


def resume_after(worker: Worker, release: Path) -> None:
    """Wait for the file."""
    while not release.exists():
        threading.Event().wait(0.02)
    worker.resume("work", job_type=PAUSED)


def main() -> None:
    """Work until killed."""
    servers, namespace, runs, release = sys.argv[1:]
    pipeline, _, _, _ = declare(namespace, Path(runs))
    settings = WorkerSettings(concurrency=4, max_in_flight=MAX_IN_FLIGHT)
    worker = Worker(pipeline, ClusterSettings(bootstrap_servers=servers), settings)
    worker.pause("work", job_type=PAUSED)
    threading.Thread(target=resume_after, args=(worker, Path(release)), daemon=True).start()
    worker.run()


if __name__ == "__main__":
    main()
