"""A worker in a process of its own whose jobs a limit by tenant counts; each notes when it began in a file.

Arguments: bootstrap servers, namespace, file of begins.
"""

from __future__ import annotations

import sys
import time
from datetime import timedelta
from pathlib import Path

from stoker.consumers import Worker, WorkerSettings
from stoker.topology import ClusterSettings, JobType, Pipeline, Queue, Rate
from support.programs.crashing_worker import note_run

COUNT = 40
PER_S = 20.0
SESSION = timedelta(seconds=6)


def declare(namespace: str, begins: Path) -> tuple[Pipeline, Queue, JobType[[str, int], None]]:
    """One partition, so that one worker of several has all."""
    pipeline = Pipeline(namespace)
    queue = pipeline.queue(
        "work",
        partitions=1,
        route_by="tenant",
        ordering="none",
        session_timeout=SESSION,
        limits=[Rate(COUNT, per=timedelta(seconds=PER_S), by="tenant")],
    )

    @pipeline.job(queue, tenant="tenant")
    def act(tenant: str, number: int) -> None:
        note_run(begins, f"{time.time():.6f} {tenant} {number}")

    return pipeline, queue, act


def main(bootstrap_servers: str, namespace: str, begins: str) -> None:
    """Work until the process is killed."""
    pipeline, _, _ = declare(namespace, Path(begins))
    cluster = ClusterSettings(bootstrap_servers=bootstrap_servers)
    Worker(pipeline, cluster, WorkerSettings(concurrency=4)).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
