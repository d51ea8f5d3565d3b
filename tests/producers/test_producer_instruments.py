"""A producer's instruments see each confirmed job once, however it was enqueued; one that raises is switched off."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest
from confluent_kafka import KafkaError

from stoker.producers import AsyncProducer, Producer, ProducerInstrument, Receipt, bulk, publisher
from stoker.producers.errors import BulkFailed, DeliveryFailed
from stoker.producers.instrument_row import ProducerInstruments
from stoker.topology import ClusterSettings
from stoker.topology.declaration.job_type import JobCall
from support.scenes.instruments import CountingInstrument, FaultyInstrument
from support.scenes.shop import Shop

JOBS = 20


def enqueue_in_each_way(shop: Shop, cluster: ClusterSettings, instruments: Iterable[ProducerInstrument]) -> None:
    """One after the other: a job, a future, and a bulk of `JOBS`."""
    with Producer(shop.pipeline, cluster, instruments=instruments) as producer:
        producer.enqueue(shop.charge, "one", 1)
        producer.enqueue_future(shop.charge, "future", 1).result(30)
        producer.enqueue_many(shop.charge.call("bulk", n) for n in range(JOBS))


def test_an_instrument_sees_each_confirmed_job(shop: Shop, cluster: ClusterSettings) -> None:
    """With its call and its receipt, before its caller has the receipt."""
    counts = CountingInstrument()
    with Producer(shop.pipeline, cluster, instruments=[counts]) as producer:
        call = shop.charge.call("one", 1)
        receipt = producer.send(call)
        assert counts.receipts == {receipt: call}
        later = producer.enqueue_future(shop.charge, "future", 1).result(30)
        assert set(counts.receipts) == {receipt, later}
        producer.enqueue_many(shop.charge.call("bulk", n) for n in range(JOBS))
    in_bulk = [call.args for call in counts.receipts.values()][2:]
    assert sorted(in_bulk) == [("bulk", n) for n in range(JOBS)]
    assert all(receipt.topic == shop.mails.topic for receipt in counts.receipts)


def test_an_instrument_sees_the_jobs_of_an_async_producer(shop: Shop, cluster: ClusterSettings) -> None:
    """One by one, and in a bulk."""
    counts = CountingInstrument()

    async def enqueue() -> Receipt:
        async with AsyncProducer(shop.pipeline, cluster, instruments=[counts]) as producer:
            await producer.enqueue_many(shop.charge.call("bulk", n) for n in range(JOBS))
            return await producer.enqueue(shop.charge, "one", 1)

    receipt = asyncio.run(enqueue())
    assert list(counts.receipts)[-1] == receipt
    assert len(counts.receipts) == JOBS + 1


def test_an_instrument_sees_no_job_that_was_not_confirmed(
    shop: Shop, cluster: ClusterSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each delivery report has an error here."""
    for module in (publisher, bulk):
        monkeypatch.setattr(module, "why_unconfirmed", lambda _error, _message: KafkaError(KafkaError.INVALID_RECORD))
    counts = CountingInstrument()
    with Producer(shop.pipeline, cluster, instruments=[counts]) as producer:
        with pytest.raises(DeliveryFailed):
            producer.enqueue(shop.charge, "one", 1)
        with pytest.raises(BulkFailed):
            producer.enqueue_many([shop.charge.call("bulk", 1)])
    assert counts.receipts == {}


@pytest.mark.expected_errors("is switched off")
def test_an_instrument_that_raises_is_switched_off(
    shop: Shop, cluster: ClusterSettings, caplog: pytest.LogCaptureFixture
) -> None:
    """It is called once, one message names it, and one behind it sees all jobs."""
    faulty, counts = FaultyInstrument("enqueued"), CountingInstrument()
    enqueue_in_each_way(shop, cluster, [faulty, counts])
    messages = [record.getMessage() for record in caplog.records if record.name == "stoker.instruments"]
    assert len(messages) == 1
    assert "FaultyInstrument raised ValueError and is switched off" in messages[0]
    assert "restart the program" in messages[0]
    assert faulty.raised == 1
    assert len(counts.receipts) == JOBS + 2


def test_without_instruments_nothing_is_called(
    shop: Shop, cluster: ClusterSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The row is falsy then, and the producer goes no further than that check."""
    calls: list[JobCall] = []
    monkeypatch.setattr(ProducerInstruments, "enqueued", lambda _row, call, _receipt: calls.append(call))
    enqueue_in_each_way(shop, cluster, [])
    assert not ProducerInstruments()
    assert calls == []
