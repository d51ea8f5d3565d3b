"""The jobs that are measured: one job type on one queue, in a namespace of each measurement's own.

One type at a time, because a worker whose pipeline has async jobs sorts sync ones from them, which costs them a little.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Final, Literal, get_args

from stoker.consumers import current_job
from stoker.topology import Pipeline, Queue, RetryPolicy
from stoker.topology.wire import headers as wire

Kind = Literal["sync", "async", "brief", "slow", "stamped", "failing"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
Note = Callable[[float], None]
"""Takes what a handler measured, in seconds."""

QUEUE: Final = "jobs"
PARTITIONS: Final = 8
KEYS: Final = 5_000
BRIEF_S: Final = 0.01
SLOW_S: Final = 0.5
TIER: Final = timedelta(seconds=1)


class FailsOnce(Exception):
    """What a failing job raises in its first run."""


def declare(namespace: str, kind: Kind, note: Note = lambda _seconds: None) -> Pipeline:
    """The pipeline of one measurement."""
    pipeline = Pipeline(namespace)
    queue = pipeline.queue(QUEUE, partitions=PARTITIONS, tiers=(TIER,))
    if kind in {"sync", "async", "brief", "slow"}:
        _declare_orders(pipeline, queue, kind)
    else:
        _declare_timed(pipeline, queue, kind, note)
    return pipeline


def _customer(order: int, customer: str, amount: float) -> str:  # called with all of a job's arguments
    return customer


def _declare_orders(pipeline: Pipeline, queue: Queue, kind: Kind) -> None:
    job = pipeline.job(queue, name=kind, key=_customer)

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

    job = pipeline.job(queue, name=kind, retry=RetryPolicy(attempts=2))
    job(failing if kind == "failing" else stamped)


def order(number: int) -> tuple[int, str, float]:
    """The payload of the order jobs: three fields, with the keys spread evenly."""
    return number, f"customer-{number % KEYS}", number / 100
