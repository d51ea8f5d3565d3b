"""Priorities: an urgent job passes a backlog, and the least urgent ones get their share.

    stoker -A examples.priorities:pipeline topology apply
    python -m examples.priorities

One process does all of it here: it enqueues a backlog, then an urgent job, and runs a worker with one thread.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Final

from stoker.consumers import Worker, WorkerSettings
from stoker.producers import Producer
from stoker.topology import ClusterSettings, Pipeline

DEADLINE_S: Final = 60.0
BACKLOG: Final = 600
JOB_S: Final = 0.002

pipeline = Pipeline(os.environ.get("PRIORITIES_NAMESPACE", "priorities"), description="a shop whose mails are urgent")
mails = pipeline.queue("mails", partitions=2, priorities={"high": 8, "normal": 3, "low": 1})
started: list[str] = []


@pipeline.job(mails)
def send_receipt(order: int) -> None:
    """A normal job, unless the call names another priority."""
    time.sleep(JOB_S)
    started.append(f"receipt {order}")


@pipeline.job(mails, priority="low")
def send_newsletter(number: int) -> None:
    """A job that may wait."""
    time.sleep(JOB_S)
    started.append(f"newsletter {number}")


def main() -> None:
    """Show in which order they run."""
    cluster = ClusterSettings.from_environment()
    with Producer(pipeline, cluster) as producer:
        producer.enqueue_many(send_newsletter.call(number) for number in range(BACKLOG))
        producer.enqueue_many(send_receipt.call(order) for order in range(BACKLOG))
        producer.enqueue(send_receipt.with_options(priority="high"), 4711)
    run_all(Worker(pipeline, cluster, settings=WorkerSettings(concurrency=1)), 2 * BACKLOG + 1)
    show(started)


def run_all(worker: Worker, jobs: int) -> None:
    """Run so many jobs.

    Raises:
        TimeoutError: they did not end in a minute.
    """
    worker.start()
    give_up_at_s = time.monotonic() + DEADLINE_S
    try:
        while worker.snapshot()[0].outcomes.get("Done", 0) < jobs:
            if time.monotonic() > give_up_at_s:
                raise TimeoutError("the jobs did not end in a minute")
            time.sleep(0.02)
    finally:
        worker.stop()


def show(names: Sequence[str]) -> None:
    """Print where the urgent one was, and how the others share the first half of the time."""
    first = names[:BACKLOG]
    newsletters = sum(name.startswith("newsletter") for name in first)
    print(f"  the urgent receipt was number {names.index('receipt 4711') + 1} of {len(names)}", flush=True)
    print(f"  of the first {len(first)} jobs, {newsletters} were newsletters", flush=True)


if __name__ == "__main__":
    main()
