"""Orders to the workers of a small shop: pause, cancel, block, reschedule, and who gave which.

    stoker -A examples.orders:pipeline topology apply
    python -m examples.orders

One process does all of it here, so that you can follow it: it enqueues jobs, runs a worker, and gives the orders that
an operator gives with `stoker control`.
"""

from __future__ import annotations

import os
import time
from datetime import timedelta

from examples.embedded import DEADLINE_S, wait_until
from stoker.consumers import JobCancelled, Worker, current_job
from stoker.producers import Producer
from stoker.producers.control import Control, OrderReceipt
from stoker.producers.control.standing import as_given, read_given_orders
from stoker.topology import ClusterSettings, Pipeline

pipeline = Pipeline(os.environ.get("ORDERS_NAMESPACE", "orders"), description="mails of a small shop")
mails = pipeline.queue("mails", partitions=2)


@pipeline.job(mails, tenant="shop")
def send_news(issue: int, shop: str) -> None:
    """Send the news of a shop."""
    print(f"  news {issue} of {shop} go out", flush=True)


@pipeline.job(mails)
def export_orders(year: int) -> None:
    """Take long, and clean up if it is cancelled."""
    print(f"  the export of {year} begins", flush=True)
    try:
        while not current_job().should_stop:
            time.sleep(0.01)
    except JobCancelled:
        print(f"  the export of {year} is cancelled and removes its file", flush=True)
        raise


def main() -> None:
    """Give the orders one after the other, and show what the jobs do."""
    cluster = ClusterSettings.from_environment()
    worker = Worker(pipeline, cluster)
    with Control(pipeline, cluster, operator="ann") as control, Producer(pipeline, cluster) as producer:
        worker.start()
        try:
            wait_until(lambda: bool(worker.snapshot()[0].partitions))
            pause_and_resume(control, producer, worker)
            cancel(control, producer, worker)
            block(control, producer, worker)
            reschedule(control, producer, worker)
        finally:
            worker.stop()
    show_log(cluster)


def pause_and_resume(control: Control, producer: Producer, worker: Worker) -> None:
    """Jobs of a type wait, and run after all."""
    taken(control.pause(job_type="send_news", reason="a fault in the template"))
    producer.enqueue(send_news, 1, "acme")
    wait_until(lambda: bool(worker.inspect()[0].held))
    print("  news 1 wait", flush=True)
    taken(control.resume(job_type="send_news"))
    wait_until(lambda: ended(worker) == 1)


def cancel(control: Control, producer: Producer, worker: Worker) -> None:
    """A job that runs is interrupted, one that is due tomorrow ends now, one that comes later does not run."""
    producer.enqueue(export_orders.with_options(job_id="export-2013"), 2013)
    producer.enqueue(send_news.with_options(job_id="news-2", delay=timedelta(days=1)), 2, "acme")
    wait_until(lambda: worker.snapshot()[0].running == 1)
    taken(control.cancel("export-2013", "news-2", "news-3", reason="ordered by mistake"))
    producer.enqueue(send_news.with_options(job_id="news-3"), 3, "acme")
    wait_until(lambda: worker.snapshot()[0].outcomes.get("Cancelled", 0) == 3)
    print("  three jobs have ended as cancelled", flush=True)


def block(control: Control, producer: Producer, worker: Worker) -> None:
    """Jobs of a tenant end without running, until that is lifted; those of others run."""
    taken(control.block(tenant="acme", discard=True, reason="has left us"))
    producer.enqueue(send_news, 4, "acme")
    producer.enqueue(send_news, 4, "zeta")
    wait_until(lambda: ended(worker) == 6)
    taken(control.unblock(tenant="acme", reason="is back"))


def reschedule(control: Control, producer: Producer, worker: Worker) -> None:
    """A job that is due tomorrow runs now."""
    producer.enqueue(send_news.with_options(job_id="news-5", delay=timedelta(days=1)), 5, "acme")
    wait_until(lambda: worker.snapshot()[0].outcomes.get("Delayed", 0) == 2)
    taken(control.reschedule("news-5", now=True, reason="they asked for it"))
    wait_until(lambda: ended(worker) == 7)


def taken(receipt: OrderReceipt) -> None:
    """Show an order, once the worker has taken it."""
    answers = receipt.wait(timedelta(seconds=DEADLINE_S))
    print(f"{receipt.order.verb}: taken by all: {answers.is_taken_by_all}", flush=True)


def ended(worker: Worker) -> int:
    """How many jobs are done or cancelled."""
    outcomes = worker.snapshot()[0].outcomes
    return outcomes.get("Done", 0) + outcomes.get("Cancelled", 0)


def show_log(cluster: ClusterSettings) -> None:
    """Who ordered what, and why."""
    print("the trail:", flush=True)
    for given in as_given(read_given_orders(pipeline, cluster)):
        count = f" {given.count} jobs" if given.count > 1 else ""
        print(f"  {given.order.operator}: {given.order.verb}{count} {given.order.reason}".rstrip(), flush=True)


if __name__ == "__main__":
    main()
