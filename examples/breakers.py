"""A payment service is down for a while: its breaker holds the jobs, one of them probes, and all run in the end.

    stoker -A examples.breakers:pipeline topology apply
    python -m examples.breakers

One process does all of it here, so that you can follow it: it enqueues jobs, runs a worker, and is the service as well.
"""

from __future__ import annotations

import os
import threading
import time
from datetime import timedelta
from typing import Final

from examples.embedded import count, wait_until
from stoker.consumers import DependencyDown, Worker, current_job
from stoker.producers import Producer
from stoker.topology import Breaker, ClusterSettings, Pipeline, RetryPolicy

ORDERS: Final = 200
OUTAGE_S: Final = 4.0

pipeline = Pipeline(os.environ.get("BREAKERS_NAMESPACE", "breakers"), description="a shop with a payment service")
work = pipeline.queue("work", partitions=2, retry=RetryPolicy(attempts=6))
quick = Breaker(failures=3, open_for=timedelta(seconds=1), longest=timedelta(seconds=1))
pipeline.dependency("payments", quick)
pipeline.dependency("sms", quick)


class PaymentService:
    """The service of others; counts its calls."""

    def __init__(self) -> None:
        self.is_up, self.calls, self.refused = threading.Event(), 0, 0

    def charge(self) -> None:
        """Charge a card.

        Raises:
            ConnectionError: the service is down.
        """
        self.calls += 1
        if not self.is_up.is_set():
            self.refused += 1
            raise ConnectionError("connection refused")


service = PaymentService()


@pipeline.job(work, needs=["payments"])
def charge(order_id: int) -> None:
    """Needs the service from the beginning, so it waits while the breaker is open."""
    service.charge()


@pipeline.job(work)
def confirm(order_id: int) -> str:
    """Prefers a text message, and can do without."""
    try:
        with current_job().dependency("sms"):
            raise ConnectionError("the provider of text messages is down")
    except (ConnectionError, DependencyDown):
        return "sent by mail"


def main() -> None:
    """Enqueue during an outage, which then ends."""
    cluster = ClusterSettings.from_environment()
    worker = Worker(pipeline, cluster)
    with Producer(pipeline, cluster) as producer:
        producer.enqueue_many(charge.call(number) for number in range(ORDERS))
        producer.enqueue_many(confirm.call(number) for number in range(20))
    worker.start()
    try:
        wait_until(lambda: waiting(worker) > 0)
        time.sleep(OUTAGE_S)
        few = "few" if service.refused < ORDERS / 2 else "many"
        print(f"  during the outage, {few} calls were refused, and the other jobs wait", flush=True)
        service.is_up.set()
        wait_until(lambda: count(worker, "Done") == ORDERS + 20)
    finally:
        worker.stop()
    print(f"  {count(worker, 'Done')} jobs are done, {count(worker, 'Dead')} are dead letters", flush=True)


def waiting(worker: Worker) -> int:
    """How many jobs wait for a breaker."""
    return sum(held.count for held in worker.inspect()[0].held if held.reason == "breaker")


if __name__ == "__main__":
    main()
