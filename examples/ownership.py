"""A charge fails for good: its owner is paged with the story, and the customer gets a fallback.

    stoker -A examples.ownership:pipeline topology apply
    python -m examples.ownership
    stoker -A examples.ownership:pipeline catalogue

One process does all of it here: it enqueues the jobs, and runs the worker of both queues.
"""

from __future__ import annotations

import os
import time
from datetime import timedelta
from typing import Final

from stoker.consumers import Worker
from stoker.producers import Producer
from stoker.topology import ClusterSettings, JobStory, Pipeline, RetryPolicy, Slo

DEADLINE_S: Final = 60.0
CUSTOMERS: Final = ("ada", "bob", "eve")

pipeline = Pipeline(os.environ.get("OWNERSHIP_NAMESPACE", "ownership"), description="a shop whose jobs have owners")
oncall = pipeline.queue("oncall", partitions=2, owner="platform")
payments = pipeline.queue("payments", partitions=2, owner="payments", escalation="page payments-oncall")
pages: list[str] = []


@pipeline.job(oncall, key=lambda story: story.owner)
def page_owner(story: JobStory) -> None:
    """Page whoever answers for the job; pages of one owner come one after the other."""
    pages.append(f"{story.owner}: {story.job_type} for {story.key} is dead after {story.attempt} run: {story.runbook}")


@pipeline.job(
    payments,
    key="customer",
    runbook="Ask the customer for another card.",
    slo=Slo(wait=timedelta(seconds=30), run=timedelta(seconds=5), success=0.995),
    retry=RetryPolicy(permanent=(ValueError,)),
    on_dead=page_owner,
)
def charge(customer: str, cents: int) -> None:
    """Charge a card."""
    if customer == "bob":
        raise ValueError("the card has expired")


def main() -> None:
    """Enqueue three charges, of which one fails for good."""
    cluster = ClusterSettings.from_environment()
    worker = Worker(pipeline, cluster)
    with Producer(pipeline, cluster) as producer:
        producer.enqueue_many(charge.call(customer, 1_000) for customer in CUSTOMERS)
    worker.start()
    try:
        give_up_at_s = time.monotonic() + DEADLINE_S
        while not pages and time.monotonic() < give_up_at_s:
            time.sleep(0.02)
    finally:
        worker.stop()
    for page in pages:
        print(f"  {page}", flush=True)


if __name__ == "__main__":
    main()
