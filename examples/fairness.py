"""Tenants that share the runners: one has thousands of jobs, and three others do not wait for them.

    stoker -A examples.fairness:pipeline topology apply
    python -m examples.fairness

One process does all of it here, so that you can follow it: it enqueues jobs, and runs a worker.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from typing import Final

from stoker.consumers import Worker, WorkerSettings
from stoker.producers import Producer
from stoker.topology import ClusterSettings, FairBy, Pipeline

DEADLINE_S: Final = 60.0
FLOOD: Final = 3_000
OTHERS: Final = ("acme", "beta", "zeta")

pipeline = Pipeline(os.environ.get("FAIRNESS_NAMESPACE", "fairness"), description="a shop whose customers share")
imports = pipeline.queue("imports", partitions=2, fair_by=FairBy("tenant", weights={"acme": 2}))
done: Counter[str] = Counter()
all_others_are_done = threading.Event()


@pipeline.job(imports, tenant="account")
def import_row(account: str, number: int) -> None:
    """Takes a moment."""
    time.sleep(0.01)
    done[account] += 1
    if all(done[name] == number + 1 for name in OTHERS):
        all_others_are_done.set()


def main() -> None:
    """Enqueue the flood first, then one job of each of the others."""
    cluster = ClusterSettings.from_environment()
    with Producer(pipeline, cluster) as producer:
        producer.enqueue_many(import_row.call("flood", number) for number in range(FLOOD))
        for account in OTHERS:
            producer.enqueue(import_row, account, 0)
    worker = Worker(pipeline, cluster, settings=WorkerSettings(concurrency=4, max_in_flight=200))
    worker.start()
    try:
        if not all_others_are_done.wait(DEADLINE_S):
            raise TimeoutError("the others were not done in a minute")
        print(f"  {', '.join(OTHERS)} are done, and of the flood {done['flood']:,} of {FLOOD:,}", flush=True)
    finally:
        worker.stop()


if __name__ == "__main__":
    main()
