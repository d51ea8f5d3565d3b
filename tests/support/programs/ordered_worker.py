"""A worker in a process of its own that obeys control; its jobs note when they began in a file.

Arguments: bootstrap servers, namespace, file of runs, worker id; and `forgetting` where it dies as soon as an order has
nothing left to do, before that is removed.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from datetime import timedelta
from pathlib import Path

from stoker.consumers import Worker, WorkerSettings
from stoker.consumers.control.order_forgetter import Forgetter
from stoker.topology import ClusterSettings, JobType, Pipeline, Queue
from support.programs.crashing_worker import note_run


def declare(namespace: str, runs: Path, worker: str = "") -> tuple[Pipeline, Queue, JobType[[int], None]]:
    """Short jobs on one queue."""
    pipeline = Pipeline(namespace)
    session = timedelta(seconds=float(os.environ.get("SESSION_S", "45")))
    queue = pipeline.queue("work", partitions=4, session_timeout=session)

    @pipeline.job(queue)
    def mail(number: int) -> None:
        note_run(runs, f"{time.time():.6f} {worker} {number}")
        time.sleep(0.01)

    return pipeline, queue, mail


def _die(_forgetter: Forgetter, key: bytes, order_id: str, reason: str) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Work until stopped or killed."""
    servers, namespace, runs, worker, *dies = sys.argv[1:]
    if dies:
        Forgetter.forget = _die  # type: ignore[assignment, method-assign]
    pipeline, _, _ = declare(namespace, Path(runs), worker)
    Worker(pipeline, ClusterSettings(bootstrap_servers=servers), WorkerSettings(concurrency=4, worker_id=worker)).run()


if __name__ == "__main__":
    main()
