"""`AsyncProducer` after `close` and in a forked child: it refuses at once, and what is under way ends."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Iterator
from datetime import timedelta

import pytest

from stoker.producers import AsyncProducer, EnqueueError
from stoker.producers.bulk import BulkRun
from stoker.producers.errors import ProducerClosed, ProducerForked, UnreachableAtStart
from stoker.topology import ClusterSettings
from stoker.topology.declaration.job_type import JobCall
from support.scenes.shop import Shop, declare_shop
from support.waiting import wait_until

NOWHERE = ClusterSettings(bootstrap_servers="localhost:1")
SOON_S = 10.0


def away(shop: Shop) -> AsyncProducer:
    """A producer whose brokers do not answer."""
    return AsyncProducer(shop.pipeline, NOWHERE, lazy=True, confirm_timeout=timedelta(milliseconds=200))


async def refused(producer: AsyncProducer, shop: Shop, error: type[EnqueueError]) -> bool:
    """Whether each call that needs the brokers ends soon, with this error, and those that end it with none."""
    for call in (producer.enqueue(shop.charge, "a", 1), producer.check()):
        with pytest.raises(error):
            await soon(call)
    await soon(producer.flush())
    await soon(producer.close())
    return True


async def soon(call: Awaitable[object]) -> None:
    """The result of a call that must not hang."""
    await asyncio.wait_for(call, SOON_S)


def test_a_closed_producer_refuses_what_it_has_prepared_nothing_for(namespace: str) -> None:
    """The first job of a type after `close` raises `ProducerClosed`, as a later one does; so does a health check."""
    shop = declare_shop(namespace)

    async def use_after_close() -> bool:
        producer = away(shop)
        await producer.close()
        return await refused(producer, shop, ProducerClosed)

    assert asyncio.run(use_after_close())


def test_a_forked_child_is_refused_where_the_parent_had_idle_threads(namespace: str) -> None:
    """The child has none of them, and waits for none."""
    shop = declare_shop(namespace)
    producer = away(shop)

    async def use() -> None:
        with pytest.raises(UnreachableAtStart):
            await producer.check(timedelta(milliseconds=200))

    asyncio.run(use())
    idle = producer._blocking._idle_semaphore  # no other way to see that a thread rests
    wait_until(lambda: idle._value > 0, what="the thread that has checked rests")
    child = os.fork()
    if child == 0:
        is_refused = False
        try:
            is_refused = asyncio.run(refused(producer, shop, ProducerForked))
        finally:
            os._exit(0 if is_refused else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    asyncio.run(producer.close())


def test_a_bulk_that_runs_on_while_the_producer_is_closed_is_settled(
    namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its caller gets the error of the iterable, with the account of what was published before."""
    shop, settled = declare_shop(namespace), threading.Event()
    settle = BulkRun.settle

    def settle_and_tell(run: BulkRun, timeout_s: float) -> None:
        settle(run, timeout_s)
        settled.set()

    def broken() -> Iterator[JobCall]:
        raise ZeroDivisionError
        yield

    async def close_meanwhile() -> None:
        producer = away(shop)
        run = BulkRun(producer._publisher, 1)
        monkeypatch.setattr("stoker.producers.async_producer.BulkRun", lambda *_: run)
        await producer.close()
        with pytest.raises(ZeroDivisionError):
            await soon(producer._run_bulk(broken(), 1))

    monkeypatch.setattr(BulkRun, "settle", settle_and_tell)
    asyncio.run(close_meanwhile())
    assert settled.is_set()
