"""A worker in a process of its own that obeys control; its jobs note when they began in a file.

Arguments: bootstrap servers, namespace, file of runs, worker id; and when it dies: `forgetting` as soon as an order has
nothing left to do, before that is removed; `removing` amid the transaction that removes it, and `removed` after that.
In these two cases, another order about the same job is on the topic, which it has not read.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from stoker.consumers import Worker, WorkerSettings
from stoker.consumers.control.order_remover import OrderRemover
from stoker.producers.control import Control
from stoker.topology import ClusterSettings, JobType, Pipeline, Queue
from stoker.topology.wire.orders import cancelled_by
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


def _die(_remover: OrderRemover, key: bytes, order_id: str, reason: str) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_about(pipeline: Pipeline, cluster: ClusterSettings, moment: str) -> None:
    """Give another order about the job whose order is being removed, and die at that moment."""
    remove = OrderRemover._remove

    def remove_and_die(remover: OrderRemover, some: Any, orders: Any) -> None:
        with Control(pipeline, cluster) as control:
            control.cancel(*(cancelled_by(key)[0] or "" for key in some))
        try:
            remove(remover, some, _Dying() if moment == "removing" else orders)
        finally:
            os.kill(os.getpid(), signal.SIGKILL)

    OrderRemover._remove = remove_and_die  # type: ignore[assignment, method-assign]


class _Dying:
    """In place of the reader of orders."""

    def read_to(self, _offset: int, _within_s: float) -> bool:
        """Die."""
        os.kill(os.getpid(), signal.SIGKILL)
        return True


def main() -> None:
    """Work until stopped or killed."""
    servers, namespace, runs, worker, *dies = sys.argv[1:]
    pipeline, _, _ = declare(namespace, Path(runs), worker)
    cluster = ClusterSettings(bootstrap_servers=servers)
    if dies == ["forgetting"]:
        OrderRemover.remove_soon = _die  # type: ignore[assignment, method-assign]
    elif dies:
        die_about(pipeline, cluster, dies[0])
    Worker(pipeline, cluster, WorkerSettings(concurrency=4, worker_id=worker)).run()


if __name__ == "__main__":
    main()
