"""Type checkers see a job's own parameters in the enqueue call; mypy and pyright check this file, nothing runs it.

Each wrong call carries a mark, which both checkers take and which both report where it is not needed
(`warn_unused_ignores`, `reportUnnecessaryTypeIgnoreComment`). So the file passes only when each finds every wrong call,
and objects to no right one.
"""

# pyright: standard, reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from typing import assert_type

from stoker.producers import AsyncProducer, BulkResult, Producer, Receipt
from stoker.topology import ConfiguredJob, JobCall, JobStory, JobType, Pipeline, Slo

pipeline = Pipeline("shop")
mails = pipeline.queue("mails")


@pipeline.job(mails)
def send_receipt(order_id: int, address: str, *, copies: int = 1) -> bool:
    """Mail a receipt."""
    return order_id > 0 and bool(address) and copies > 0


@pipeline.job(mails, key=lambda account, cents: account)
async def charge(account: str, cents: int) -> float:
    """Charge an account."""
    return cents / 100 if account else 0.0


@pipeline.job(mails, key="job")
def collide(self: int, job: int, *, timeout: int = 0, calls: int = 0, key: str = "") -> None:
    """Have parameters with the names of the producers' own."""


@pipeline.job(mails)
def page_owner(story: JobStory) -> None:
    """Follow jobs that are dead."""


@pipeline.job(mails)
async def open_ticket(story: JobStory) -> None:
    """Follow jobs that are late."""


@pipeline.job(mails, owner="shop", slo=Slo(success=0.99), on_dead=page_owner, on_late=open_ticket)
def owned(order_id: int) -> None:
    """Have followers that take a story."""


@pipeline.job(mails, on_dead=send_receipt)  # type: ignore[arg-type]
def followed_by_another(order_id: int) -> None:
    """Have a follower that takes no story."""


@pipeline.job(mails, slo=0.99)  # type: ignore[arg-type]
def promised(order_id: int) -> None:
    """Have a promise that is none."""


def calls_with_names_of_our_own(producer: Producer) -> None:
    """Parameters named as those of the methods collide with nothing."""
    assert_type(producer.enqueue(collide, self=1, job=2, timeout=3, calls=4, key="k"), Receipt)
    assert_type(producer.enqueue(collide.with_options(key="k"), self=1, job=2), Receipt)
    assert_type(producer.enqueue_future(collide, 1, job=2, key="k"), Future[Receipt])
    assert_type(collide.call(self=1, job=2, key="k"), JobCall)
    assert_type(collide.with_options(job_id="x").call(self=1, job=2), JobCall)
    producer.enqueue(job=collide, self=1)  # type: ignore[call-arg]
    producer.enqueue(collide, self=1, job="2")  # type: ignore[arg-type]


async def async_calls_with_names_of_our_own(producer: AsyncProducer) -> None:
    """Nor do they for the asynchronous producer."""
    assert_type(await producer.enqueue(collide, self=1, job=2, key="k"), Receipt)
    assert_type(await producer.enqueue_future(collide, self=1, job=2), asyncio.Future[Receipt])


def right_calls(producer: Producer) -> None:
    """Calls as the jobs declare them."""
    assert_type(producer.enqueue(send_receipt, 7, "a@b.example"), Receipt)
    assert_type(producer.enqueue(send_receipt, 7, address="a@b.example", copies=2), Receipt)
    assert_type(producer.enqueue(send_receipt.with_options(key="k"), 7, "a@b.example"), Receipt)
    assert_type(producer.enqueue(charge, "acc", cents=5), Receipt)
    assert_type(producer.enqueue_future(charge, "acc", 5), Future[Receipt])
    assert_type(producer.enqueue_many(send_receipt.call(n, "a") for n in range(9)), BulkResult)
    assert_type(producer.send(send_receipt.call(7, "a")), Receipt)


def wrong_calls(producer: Producer) -> None:
    """Calls that the jobs do not take."""
    producer.enqueue(send_receipt, "7", "a")  # type: ignore[arg-type]
    producer.enqueue(send_receipt, 7)  # type: ignore[call-arg]
    producer.enqueue(send_receipt, 7, "a", 2)  # type: ignore[call-arg]
    producer.enqueue(send_receipt, 7, "a", colour="red")  # type: ignore[call-arg]
    producer.enqueue(send_receipt, 7, "a", copies="2")  # type: ignore[arg-type]
    producer.enqueue(send_receipt.with_options(key="k"), 7, 7)  # type: ignore[arg-type]
    producer.enqueue_future(charge, "acc", "5")  # type: ignore[arg-type]
    producer.enqueue(charge, cents=5)  # type: ignore[call-arg]
    producer.enqueue(print, "no job")  # type: ignore[arg-type]
    producer.enqueue_many([send_receipt])  # type: ignore[list-item]


def wrong_bound_calls() -> None:
    """Binding for a bulk is checked like enqueueing."""
    send_receipt.call("7", "a")  # type: ignore[arg-type]
    send_receipt.with_options(job_id=7)  # type: ignore[arg-type]
    charge.with_options(key="k").call("acc")  # type: ignore[call-arg]


async def right_async_calls(producer: AsyncProducer) -> None:
    """The asynchronous producer sees the same parameters."""
    assert_type(await producer.enqueue(send_receipt, 7, "a"), Receipt)
    assert_type(await producer.enqueue_future(charge, "acc", 5), asyncio.Future[Receipt])
    assert_type(await producer.enqueue_many([charge.call("acc", 5)]), BulkResult)


async def wrong_async_calls(producer: AsyncProducer) -> None:
    """And refuses the same."""
    await producer.enqueue(send_receipt, "7", "a")  # type: ignore[arg-type]
    await producer.enqueue_future(charge, "acc")  # type: ignore[call-arg]


async def direct_calls() -> None:
    """A decorated function is called directly, with its own parameters and result."""
    assert_type(send_receipt(7, "a"), bool)
    assert_type(await charge("acc", 5), float)
    assert_type(send_receipt.call(7, "a"), JobCall)
    send_receipt("7", "a")  # type: ignore[arg-type]
    send_receipt(7)  # type: ignore[call-arg]


def passed_on(job: JobType[[int], None] | ConfiguredJob[[int], None], producer: Producer) -> None:
    """A job that is passed around keeps its parameters."""
    producer.enqueue(job, 1)
    producer.enqueue(job, "1")  # type: ignore[arg-type]
