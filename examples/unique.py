"""Jobs that are unique: one is dropped, one replaced, one put off, and one runs in each period.

    stoker -A examples.unique:pipeline topology apply
    python -m examples.unique

One process does all of it here, so that you can follow it: it enqueues jobs, and runs a worker.
"""

from __future__ import annotations

import os
import threading
import time
from datetime import timedelta

from examples.embedded import DEADLINE_S, count, wait_until
from stoker.consumers import Worker
from stoker.producers import Producer
from stoker.topology import ClusterSettings, Pipeline, Unique

pipeline = Pipeline(os.environ.get("UNIQUE_NAMESPACE", "unique"), description="a shop that spares itself work")
work = pipeline.queue("work", partitions=2)
is_open = threading.Event()


@pipeline.job(work, unique=Unique(by="shop"))
def import_catalogue(shop: str) -> None:
    """While one waits or runs, a new one is dropped."""
    print(f"  the catalogue of {shop} is imported", flush=True)
    is_open.wait(DEADLINE_S)


@pipeline.job(work, unique=Unique(by="product", on_conflict="replace"))
def remind(product: int, text: str) -> None:
    """A new one replaces one that waits."""
    print(f"  reminder of product {product}: {text}", flush=True)


@pipeline.job(work, unique=Unique(by="basket", on_conflict="put_off", wait=timedelta(seconds=2)))
def save_basket(basket: int, items: int) -> None:
    """Runs when nothing has changed for two seconds."""
    print(f"  basket {basket} is saved with {items} items", flush=True)


@pipeline.job(work, unique=Unique(by="shop", while_=(), within=timedelta(hours=1)))
def warn(shop: str, text: str) -> None:
    """Runs once in an hour."""
    print(f"  {shop} is warned: {text}", flush=True)


def main() -> None:
    """Show each mode."""
    cluster = ClusterSettings.from_environment()
    worker = Worker(pipeline, cluster)
    with Producer(pipeline, cluster) as producer:
        worker.start()
        try:
            drop(producer, worker)
            replace(producer, worker)
            put_off(producer, worker)
            throttle(producer, worker)
        finally:
            is_open.set()
            worker.stop()
    print(f"  {count(worker, 'Done')} jobs have run, {count(worker, 'Cancelled')} were duplicates", flush=True)


def drop(producer: Producer, worker: Worker) -> None:
    """Two more imports come while one runs."""
    producer.enqueue(import_catalogue, "acme")
    wait_until(lambda: worker.snapshot()[0].running == 1)
    producer.enqueue(import_catalogue, "acme")
    producer.enqueue(import_catalogue, "acme")
    wait_until(lambda: worker.snapshot()[0].in_flight == 3)  # all have arrived
    time.sleep(0.01)  # one that arrives in the very millisecond in which the first ends would run
    is_open.set()
    wait_until(lambda: count(worker, "Cancelled") == 2)


def replace(producer: Producer, worker: Worker) -> None:
    """The reminder is for tomorrow, then its text changes, and then it is for now."""
    producer.enqueue(remind.with_options(delay=timedelta(days=1)), 7, "it is cheaper now")
    wait_until(lambda: count(worker, "Delayed") == 1)
    producer.enqueue(remind, 7, "it is much cheaper now")
    wait_until(lambda: count(worker, "Delayed") == 2)
    producer.enqueue(remind.with_options(delay=timedelta(milliseconds=100)), 7, "the last one")
    wait_until(lambda: count(worker, "Done") == 2)


def put_off(producer: Producer, worker: Worker) -> None:
    """The basket changes three times."""
    producer.enqueue_many([save_basket.call(1, items) for items in (1, 2, 3)])
    wait_until(lambda: count(worker, "Done") + count(worker, "Cancelled") >= 9)


def throttle(producer: Producer, worker: Worker) -> None:
    """The first warning goes out."""
    before = count(worker, "Done") + count(worker, "Cancelled")
    producer.enqueue(warn, "acme", "the disk is nearly full")
    producer.enqueue(warn, "acme", "the disk is full")
    wait_until(lambda: count(worker, "Done") + count(worker, "Cancelled") == before + 2)


if __name__ == "__main__":
    main()
