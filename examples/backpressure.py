"""A full queue: producers are refused, wait for room, and go on when a worker has made some.

    stoker -A examples.backpressure:pipeline topology apply
    python -m examples.backpressure

One process does all of it here, so that you can follow it: it enqueues jobs, and runs a worker.
"""

from __future__ import annotations

import os
import time
from datetime import timedelta
from typing import Final

from stoker.consumers import Worker
from stoker.producers import Producer, ProducerSettings
from stoker.producers.errors import QueueFull
from stoker.topology import ClusterSettings, Pipeline

DEADLINE_S: Final = 60.0

pipeline = Pipeline(os.environ.get("BACKPRESSURE_NAMESPACE", "backpressure"), description="a shop that says no in time")
mails = pipeline.queue("mails", partitions=2, max_waiting=20)
reports = pipeline.queue("reports", partitions=2, max_waiting=20, when_full="wait")


@pipeline.job(mails)
def send_receipt(order_id: int) -> None:
    """A producer that sends too many is refused."""


@pipeline.job(reports)
def write_report(month: int) -> None:
    """A producer that sends too many waits."""


def main() -> None:
    """Fill a queue, empty it, and send more than fits through the other one."""
    cluster = ClusterSettings.from_environment()
    settings = ProducerSettings(full_wait=timedelta(seconds=DEADLINE_S))
    with Producer(pipeline, cluster, settings=settings) as producer:
        sent = fill(producer)
        worker = Worker(pipeline, cluster)
        worker.start()
        try:
            print(f"  there was room again after {wait_for_room(producer):.1f} s", flush=True)
            done = producer.enqueue_many(write_report.call(month) for month in range(200))
            print(f"  {done.confirmed} reports went through a queue for 20", flush=True)
            wait_done(worker, sent + 1 + done.confirmed)
        finally:
            worker.stop()
    print("  all of them have run", flush=True)


def fill(producer: Producer) -> int:
    """Enqueue receipts until the queue is full, while no worker runs."""
    sent = 0
    try:
        while True:
            producer.enqueue(send_receipt, sent)
            sent += 1
    except QueueFull as full:
        print(f"  after {sent} receipts: {full.depth} wait, {full.max_waiting} may", flush=True)
    return sent


def wait_for_room(producer: Producer) -> float:
    """Enqueue one more receipt as soon as a worker has made room for it."""
    began_at_s = time.monotonic()
    while True:
        try:
            producer.enqueue(send_receipt, -1)
        except QueueFull:
            if time.monotonic() - began_at_s > DEADLINE_S:
                raise
            time.sleep(0.1)
        else:
            return time.monotonic() - began_at_s


def wait_done(worker: Worker, count: int) -> None:
    """Wait until so many jobs have run.

    Raises:
        TimeoutError: they did not in a minute.
    """
    give_up_at_s = time.monotonic() + DEADLINE_S
    while sum(queue.outcomes.get("Done", 0) for queue in worker.snapshot()) < count:
        if time.monotonic() > give_up_at_s:
            raise TimeoutError("the jobs were not done in a minute")
        time.sleep(0.02)


if __name__ == "__main__":
    main()
