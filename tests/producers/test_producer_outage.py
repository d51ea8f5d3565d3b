"""Producers while the brokers are away: errors within the bound, nothing confirmed is lost, and recovery by itself."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from datetime import timedelta

import pytest

from stoker.operations.broker.embedded import EmbeddedBroker
from stoker.producers import AsyncProducer, Producer, ProducerSettings, Receipt
from stoker.producers.errors import (
    BrokerUnreachable,
    BufferFull,
    BulkFailed,
    EnqueueError,
    Unconfirmed,
    UnreachableAtStart,
)
from stoker.producers.settings import REPORT_GRACE_S
from stoker.topology import ClusterSettings
from stoker.topology.declaration.job_type import JobCall
from support.scenes.shop import Shop, create_topics, declare_shop, headers_of, read_all

CONFIRM = timedelta(seconds=2)
BOUND_S = CONFIRM.total_seconds() + REPORT_GRACE_S
HASTY = ProducerSettings(
    confirm_timeout=CONFIRM, room_wait=timedelta(milliseconds=300), max_buffered_jobs=50, source="/tests"
)


@pytest.fixture
def own_cluster(broker: EmbeddedBroker) -> ClusterSettings:
    """The test's own broker, running."""
    return ClusterSettings(bootstrap_servers=broker.start())


@pytest.fixture
def own_shop(own_cluster: ClusterSettings, namespace: str) -> Shop:
    """A shop whose topics are on the test's own broker."""
    declared = declare_shop(namespace)
    create_topics(declared, own_cluster)
    return declared


def test_a_producer_reports_an_outage_in_time_and_goes_on_after_it(
    broker: EmbeddedBroker, own_cluster: ClusterSettings, own_shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    """With the broker killed, each way to enqueue fails within its bound, told once; after its return they all work."""
    caplog.set_level(logging.INFO, logger="stoker.producers")
    with Producer(own_shop.pipeline, own_cluster, settings=HASTY) as producer:
        producer.enqueue(own_shop.charge, "acc", 1)
        broker.kill()
        for _ in range(2):
            began = time.monotonic()
            with pytest.raises(BrokerUnreachable, match="same job id") as caught:
                producer.enqueue(own_shop.charge.with_options(job_id="again"), "acc", 2)
            assert time.monotonic() - began < BOUND_S
            assert (caught.value.job_id, caught.value.maybe_published) == ("again", True)
        with pytest.raises(BulkFailed, match="did not confirm"):
            producer.enqueue_many(own_shop.charge.call("acc", n) for n in range(1_000_000))
        broker.start()
        assert _enqueued_at_last(producer, own_shop).offset >= 1
        assert producer.enqueue_many(own_shop.charge.call("acc", n) for n in range(10)).confirmed == 10
    outages = [record.getMessage() for record in caplog.records if "has lost Kafka" in record.getMessage()]
    assert 1 <= len(outages) <= 2, "once for each of the two connections"


def _enqueued_at_last(producer: Producer, shop: Shop) -> Receipt:
    """A broker that has just started may still refuse for a moment."""
    give_up_at_s = time.monotonic() + 60
    while True:
        try:
            return producer.enqueue(shop.charge, "acc", 3)
        except BrokerUnreachable:
            assert time.monotonic() < give_up_at_s


def test_a_full_buffer_refuses_and_close_reports_what_is_unconfirmed(
    broker: EmbeddedBroker, own_cluster: ClusterSettings, own_shop: Shop
) -> None:
    """Job 51 of a buffer for 50 finds no room in its wait; `close` raises in time, and every future has its error."""
    producer = Producer(own_shop.pipeline, own_cluster, settings=HASTY.with_overrides(None, timedelta(seconds=60)))
    producer.enqueue(own_shop.charge, "acc", 1)
    broker.kill()
    futures = [producer.enqueue_future(own_shop.charge, "acc", n) for n in range(50)]
    began = time.monotonic()
    with pytest.raises(BufferFull, match="it was not sent"):
        producer.enqueue_future(own_shop.charge, "acc", 51)
    assert 0.3 <= time.monotonic() - began < 30
    with pytest.raises(Unconfirmed, match="50 jobs"):
        producer.close(timedelta(milliseconds=200))
    errors = [future.exception(0) for future in futures]
    assert all(isinstance(error, EnqueueError) for error in errors)


def test_every_job_that_a_killed_bulk_called_confirmed_is_there(
    broker: EmbeddedBroker, own_cluster: ClusterSettings, own_shop: Shop
) -> None:
    """The broker is killed in the middle of a bulk; what the error does not list as failed is found after a restart."""

    def calls() -> Iterator[JobCall]:
        for number in range(1_000_000):
            if number == 8_000:
                broker.kill()
            yield own_shop.charge.with_options(job_id=f"job-{number}").call(f"acc-{number % 50}", number)

    settings = ProducerSettings(confirm_timeout=CONFIRM, max_buffered_jobs=2_000)
    with Producer(own_shop.pipeline, own_cluster, settings=settings) as producer, pytest.raises(BulkFailed) as caught:
        producer.enqueue_many(calls())
    failed = caught.value
    assert failed.confirmed >= 6_000
    assert failed.confirmed + len(failed.failed_indexes) == failed.read < 12_000
    broker.start()
    found = {headers_of(message)["ce_id"].decode() for message in read_all(own_cluster, own_shop.mails)}
    expected = {f"job-{number}" for number in set(range(failed.read)) - set(failed.failed_indexes)}
    assert expected <= found


def test_an_async_producer_reports_an_outage_in_time(
    broker: EmbeddedBroker, own_cluster: ClusterSettings, own_shop: Shop
) -> None:
    """Alone or in a bulk, awaiting ends within the bound although no broker answers."""

    async def enqueue() -> None:
        async with AsyncProducer(own_shop.pipeline, own_cluster, settings=HASTY) as producer:
            await producer.enqueue(own_shop.charge, "acc", 1)
            broker.kill()
            with pytest.raises(BrokerUnreachable):
                await asyncio.wait_for(producer.enqueue(own_shop.charge, "acc", 2), BOUND_S)
            with pytest.raises(BulkFailed):
                await asyncio.wait_for(
                    producer.enqueue_many(own_shop.charge.call("acc", n) for n in range(9_999)), 2 * BOUND_S
                )

    asyncio.run(enqueue())


def test_a_producer_without_any_broker_says_so_at_the_start(namespace: str) -> None:
    """Where nothing listens the first call fails within its bound, and nothing was sent."""
    nowhere = ClusterSettings(bootstrap_servers="127.0.0.1:1")
    producer = Producer(declare_shop(namespace).pipeline, nowhere, confirm_timeout=timedelta(seconds=1))
    began = time.monotonic()
    with pytest.raises(UnreachableAtStart, match="this address and port can be reached") as caught:
        producer.start()
    assert time.monotonic() - began < 30
    assert not caught.value.maybe_published
    producer.close()
