"""Producers of a program that must live while Kafka is away: they start without it, fail soon, and come back."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from stoker.operations.broker.embedded import EmbeddedBroker
from stoker.producers import AsyncProducer, Producer
from stoker.producers.errors import BrokerUnreachable, EnqueueError, TopologyNotReady, UnreachableAtStart
from stoker.topology import ClusterSettings
from support.scenes.shop import Shop, create_topics, declare_shop
from support.waiting import wait_until

NOWHERE = ClusterSettings(bootstrap_servers="127.0.0.1:1")
CONFIRM = timedelta(seconds=1)
ONE_ANSWER_S = 20.0
"""What one unanswered question takes at the very most: `CONFIRM`, the client's own grace, and a busy machine.

One question for each of the callers, or for as many as there are threads, would take 40 s and more.
"""
ANSWERED = timedelta(seconds=20)
"""Time for brokers that are there, and have just started."""


@pytest.fixture
def shop(namespace: str) -> Shop:
    """A declared shop whose topics are nowhere."""
    return declare_shop(namespace)


def test_requests_that_wait_together_for_absent_brokers_fail_together(shop: Shop) -> None:
    """Of 40 threads that enqueue at once, the last one waits no longer than one question takes, not 40 times that."""
    with Producer(shop.pipeline, NOWHERE, confirm_timeout=CONFIRM, lazy=True) as producer:

        def refused(number: int) -> float:
            began = time.monotonic()
            with pytest.raises(UnreachableAtStart, match="nothing was sent"):
                producer.enqueue(shop.charge, "acc", number)
            return time.monotonic() - began

        with ThreadPoolExecutor(40) as callers:
            waited = list(callers.map(refused, range(40)))
    assert max(waited) < ONE_ANSWER_S


def test_awaiting_requests_fail_together_as_well(shop: Shop) -> None:
    """Of 200 coroutines, more than the producer has threads, none waits longer than one question takes."""

    async def refused(producer: AsyncProducer, number: int) -> None:
        with pytest.raises(UnreachableAtStart):
            await producer.enqueue(shop.charge, "acc", number)

    async def enqueue() -> None:
        async with AsyncProducer(shop.pipeline, NOWHERE, confirm_timeout=CONFIRM, lazy=True) as producer:
            await asyncio.wait_for(asyncio.gather(*(refused(producer, n) for n in range(200))), ONE_ANSWER_S)

    asyncio.run(enqueue())


def test_a_call_after_the_failure_asks_the_brokers_again(shop: Shop) -> None:
    """An answer of the past is no answer to a later question: each failure is of its own time."""
    with Producer(shop.pipeline, NOWHERE, confirm_timeout=timedelta(milliseconds=200), lazy=True) as producer:
        errors = []
        for number in range(2):
            with pytest.raises(UnreachableAtStart) as caught:
                producer.enqueue(shop.charge, "acc", number)
            errors.append(caught.value)
    assert errors[1].__cause__ is not errors[0]


def test_a_lazy_producer_comes_up_with_its_brokers(broker: EmbeddedBroker, shop: Shop) -> None:
    """`with` passes; checks fail in words without brokers and without topics; all works once these are there."""
    own_cluster = ClusterSettings(bootstrap_servers=broker.start())
    broker.kill()
    with Producer(shop.pipeline, own_cluster, confirm_timeout=ANSWERED, lazy=True) as producer:
        with pytest.raises(UnreachableAtStart):
            producer.check(CONFIRM)
        broker.start()
        assert "topology apply" in str(_failed_at_last(producer, TopologyNotReady))
        create_topics(shop, own_cluster)
        wait_until(lambda: _passes(producer), 60, "a check that passes")
        assert producer.enqueue(shop.charge, "acc", 1).offset == 0
        broker.kill()
        began = time.monotonic()
        assert isinstance(_failed_at_last(producer, UnreachableAtStart), BrokerUnreachable)
        assert time.monotonic() - began < ONE_ANSWER_S


def test_an_async_check_tells_what_the_plain_one_does(broker: EmbeddedBroker, shop: Shop) -> None:
    """`await check()` passes on a cluster that can take jobs, and raises on one that cannot be reached."""
    own_cluster = ClusterSettings(bootstrap_servers=broker.start())
    create_topics(shop, own_cluster)

    async def check() -> None:
        async with AsyncProducer(shop.pipeline, own_cluster, confirm_timeout=ANSWERED) as producer:
            await producer.check()
            broker.kill()
            with pytest.raises(UnreachableAtStart):
                await asyncio.wait_for(producer.check(CONFIRM), ONE_ANSWER_S)

    asyncio.run(check())


def _passes(producer: Producer) -> bool:
    try:
        producer.check()
    except EnqueueError:
        return False
    return True


def _failed_at_last(producer: Producer, kind: type[EnqueueError]) -> EnqueueError:
    """The first error of this kind; a broker that has just started or died may say something else before."""

    def error() -> EnqueueError | None:
        try:
            producer.check(CONFIRM)
        except kind as found:
            return found
        except EnqueueError:
            return None
        return None

    found = wait_until(error, 60, f"a check that ends in {kind.__name__}")
    assert found is not None
    return found
