"""The jobs that are measured: one job type on one queue, in a namespace of each measurement's own.

One type at a time, because a worker whose pipeline has async jobs sorts sync ones from them, which costs them a little.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Final, Literal, get_args

from stoker.consumers import current_job
from stoker.topology import JobStory, Pipeline, Queue, Rate, RetryPolicy, Slo
from stoker.topology.declaration.pipeline import QueueShape
from stoker.topology.wire import headers as wire

Kind = Literal[
    "sync",
    "async",
    "brief",
    "slow",
    "stamped",
    "failing",
    "tenanted",
    "limited",
    "fair",
    "rated",
    "ranked",
    "crowded",
    "owned",
]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
Note = Callable[[float], None]
"""Takes what a handler measured, in seconds."""

QUEUE: Final = "jobs"
FOLLOWERS: Final = "followers"
NEVER_LATE: Final = timedelta(hours=1)
PARTITIONS: Final = 8
KEYS: Final = 5_000
BRIEF_S: Final = 0.01
SLOW_S: Final = 0.5
TIER: Final = timedelta(seconds=1)
TENANTS: Final = 10
SMALL_TENANTS: Final = 50
"""Each has a job a second, beside the flood of another one."""
SECOND: Final = timedelta(seconds=1)
NEVER_REACHED: Final = 1_000_000
FLEET_PER_S: Final = 200
PRIORITIES: Final = {"high": 8, "normal": 3, "low": 1}
FILLS: Final = -1.0
"""The stamp of a job that others pass."""
ORDERS: Final = frozenset({"sync", "async", "brief", "slow", "tenanted", "limited", "fair", "owned"})
"""The kinds whose jobs have a payload of three fields."""
_SHAPES: Final[dict[Kind, QueueShape]] = {
    "limited": {"route_by": "tenant", "limits": [Rate(NEVER_REACHED, per=SECOND, by="tenant")]},
    "fair": {"fair_by": "tenant"},
    "rated": {"limits": [Rate(FLEET_PER_S, per=SECOND)]},
    "ranked": {"priorities": PRIORITIES},
    "crowded": {"fair_by": "tenant"},
}


class FailsOnce(Exception):
    """What a failing job raises in its first run."""


def declare(namespace: str, kind: Kind, note: Note = lambda _seconds: None) -> Pipeline:
    """The pipeline of one measurement."""
    pipeline = Pipeline(namespace)
    owned: QueueShape = _owned(pipeline) if kind == "owned" else {}
    shape: QueueShape = {"partitions": PARTITIONS, "tiers": (TIER,), **_SHAPES.get(kind, {}), **owned}
    queue = pipeline.queue(QUEUE, **shape)
    if kind in ORDERS:
        _declare_orders(pipeline, queue, kind)
    else:
        _declare_timed(pipeline, queue, kind, note)
    return pipeline


def _owned(pipeline: Pipeline) -> QueueShape:
    """All that an owner declares; no job is ever late."""

    @pipeline.job(pipeline.queue(FOLLOWERS, partitions=1, tiers=(TIER,)))
    def page(story: JobStory) -> None:
        """Page the owner."""

    promised = Slo(wait=NEVER_LATE, run=NEVER_LATE)
    return {"owner": "shop", "runbook": "restart it", "slo": promised, "on_dead": page, "on_late": page}


def _customer(order: int, customer: str, amount: float) -> str:  # called with all of a job's arguments
    return customer


def _tenant(order: int, customer: str, amount: float) -> str:
    return f"tenant-{order % TENANTS}"


def _declare_orders(pipeline: Pipeline, queue: Queue, kind: Kind) -> None:
    tenant = _tenant if kind in ("tenanted", "limited", "fair") else None
    job = pipeline.job(queue, name=kind, key=_customer, tenant=tenant)

    def nothing(order: int, customer: str, amount: float) -> None:
        """Do nothing."""

    async def nothing_async(order: int, customer: str, amount: float) -> None:
        """Do nothing, as a coroutine."""

    def brief(order: int, customer: str, amount: float) -> None:
        """Take as long as a question to a database nearby."""
        time.sleep(BRIEF_S)

    def slow(order: int, customer: str, amount: float) -> None:
        """Take so long that a backlog stays."""
        time.sleep(SLOW_S)

    if kind == "async":
        job(nothing_async)
    else:
        job({"brief": brief, "slow": slow}.get(kind, nothing))


def _declare_timed(pipeline: Pipeline, queue: Queue, kind: Kind, note: Note) -> None:
    def stamped(sent_s: float) -> None:
        """Note how long the job took from the call of enqueue until here."""
        note(time.time() - sent_s)

    def failing(sent_s: float) -> None:
        """Fail once, then note how long after the due time the second run began."""
        now_s, job = time.time(), current_job()
        if job.attempt == 1:
            raise FailsOnce(f"as it must, after {now_s - sent_s:.3f} s")
        note(now_s - wire.parse_instant(job.headers[wire.DUE]).timestamp())

    def rated(sent_s: float) -> None:
        """Note when it began."""
        note(time.time())

    def ranked(sent_s: float) -> None:
        """As `stamped`; or take a while, as one that others pass."""
        if sent_s == FILLS:
            time.sleep(BRIEF_S)
        else:
            note(time.time() - sent_s)

    def crowded(sent_s: float) -> None:
        """As `stamped`; or do nothing, as one of a flood."""
        if sent_s != FILLS:
            note(time.time() - sent_s)

    tenant = _small_tenant if kind == "crowded" else None
    job = pipeline.job(queue, name=kind, retry=RetryPolicy(attempts=2), tenant=tenant)
    job({"failing": failing, "rated": rated, "ranked": ranked, "crowded": crowded}.get(kind, stamped))


def _small_tenant(sent_s: float) -> str:
    return "flood" if sent_s == FILLS else f"tenant-{int(sent_s * SMALL_TENANTS) % SMALL_TENANTS}"


def order(number: int) -> tuple[int, str, float]:
    """The payload of the order jobs: three fields, with the keys spread evenly."""
    return number, f"customer-{number % KEYS}", number / 100
