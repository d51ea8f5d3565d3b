"""Jobs behind limits: a partner takes five calls a second of each shop, and two at once.

    stoker -A examples.limits:pipeline topology apply
    python -m examples.limits

One process does all of it here, so that you can follow it: it enqueues jobs, and runs a worker.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from datetime import timedelta
from typing import Final

from stoker.consumers import Worker
from stoker.producers import Producer
from stoker.topology import ClusterSettings, Concurrency, Pipeline, Rate

DEADLINE_S: Final = 60.0
CALLS: Final = 12
LATE_S: Final = 0.2
"""A handler is called a moment after its job is counted."""

pipeline = Pipeline(os.environ.get("LIMITS_NAMESPACE", "limits"), description="shops that call a slow partner")
calls = pipeline.queue(
    "calls",
    partitions=2,
    route_by="tenant",
    limits=[Rate(5, per=timedelta(seconds=1), by="tenant"), Concurrency(2, by="tenant")],
)
begun: list[tuple[str, float]] = []
running: Counter[str] = Counter()
most_running: Counter[str] = Counter()
lock = threading.Lock()


@pipeline.job(calls, tenant="shop")
def call_partner(shop: str, number: int) -> None:
    """Note when it begins, and how many of its shop run."""
    with lock:
        begun.append((shop, time.monotonic()))
        running[shop] += 1
        most_running[shop] = max(most_running[shop], running[shop])
    time.sleep(0.05)
    with lock:
        running[shop] -= 1


def most_in_a_second(shop: str) -> int:
    """The most calls of a shop that began in any second, but for what a busy machine calls late."""
    times = [at_s for name, at_s in begun if name == shop]
    return max(sum(first_s <= at_s < first_s + 1.0 - LATE_S for at_s in times) for first_s in times)


def main() -> None:
    """Enqueue calls of two shops, and run them."""
    cluster = ClusterSettings.from_environment()
    worker = Worker(pipeline, cluster)
    with Producer(pipeline, cluster) as producer:
        for number in range(CALLS):
            producer.enqueue(call_partner, "acme", number)
        producer.enqueue(call_partner, "zeta", 0)
    worker.start()
    try:
        give_up_at_s = time.monotonic() + DEADLINE_S
        while len(begun) < CALLS + 1 and time.monotonic() < give_up_at_s:
            time.sleep(0.05)
    finally:
        worker.stop()
    for shop in ("acme", "zeta"):
        count = sum(name == shop for name, _ in begun)
        print(f"  {shop}: {count} calls", flush=True)
    print(f"  in no second more than 5 began: {most_in_a_second('acme') <= 5}", flush=True)
    print(f"  never more than 2 ran at once: {max(most_running.values()) <= 2}", flush=True)


if __name__ == "__main__":
    main()
