"""A recording producer takes what the real one takes, refuses what it refuses, and publishes nothing."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator

import pytest

from stoker.producers import AsyncProducer, Producer
from stoker.producers.errors import (
    BufferFull,
    BulkFailed,
    OptionRefused,
    PayloadRefused,
    PayloadTooLarge,
    ProducerClosed,
)
from stoker.testing import AsyncRecordingProducer, JobRunner, RecordingProducer
from stoker.topology import Pipeline
from stoker.topology.declaration.job_type import JobCall

pipeline = Pipeline("unit")
queue = pipeline.queue("q", partitions=3, max_payload_bytes=100)


@pipeline.job(queue, key="number")
def act(number: int, text: str = "") -> int:
    """Do something."""
    return number


def test_what_was_enqueued_is_reported_in_order() -> None:
    """With its arguments, key, id and headers, and each can be run."""
    with RecordingProducer(pipeline) as producer:
        receipt = producer.enqueue(act, 1, text="x")
        producer.enqueue_future(act.with_options(job_id="mine", tenant="acme", headers={"tenant": "t1"}), 2).result(1)
        assert producer.enqueue_many(act.call(number) for number in range(3, 6)).confirmed == 3
    first, second, *others = producer.jobs
    assert (first.job_type, first.args, first.kwargs, first.key) == (act, (1,), {"text": "x"}, "1")
    assert (first.job_id, receipt.topic) == (receipt.job_id, "unit.q")
    assert (second.job_id, second.headers["tenant"], second.headers["ce_type"]) == ("mine", b"t1", b"act")
    assert (first.tenant, second.tenant) == (None, "acme")
    assert [job.args for job in others] == [(3,), (4,), (5,)]
    assert JobRunner().run_call(first.call).returned == 1


def test_what_the_real_one_refuses_is_refused() -> None:
    """A wrong value, a wrong option, too much, another pipeline's job, and what comes after the end."""
    foreign = Pipeline("other")
    stranger = foreign.job(foreign.queue("q", partitions=1))(act.handler)
    producer = RecordingProducer(pipeline)
    with pytest.raises(PayloadRefused):
        producer.enqueue(act, "one")  # type: ignore[arg-type]  # the test's point
    with pytest.raises(OptionRefused):
        producer.enqueue(act.with_options(headers={"stoker-due": "x"}), 1)
    with pytest.raises(PayloadTooLarge):
        producer.enqueue(act, 1, "x" * 200)
    with pytest.raises(OptionRefused, match="not declared in the pipeline"):
        producer.enqueue(stranger, 1)
    with pytest.raises(BulkFailed) as failed:
        producer.enqueue_many([act.call(1), act.call("one"), act.call(2)])  # type: ignore[arg-type]  # as above
    assert failed.value.failed_indexes == (1,)
    assert [job.args for job in producer.jobs] == [(1,), (2,)]
    producer.close()
    with pytest.raises(ProducerClosed):
        producer.enqueue(act, 1)


def test_an_outage_can_be_played() -> None:
    """A program's answer to an error is tried without a broker."""
    producer = RecordingProducer(pipeline, fails_with=BufferFull("j", "unit.q", "an outage"))
    with pytest.raises(BufferFull):
        producer.enqueue(act, 1)
    producer.fails_with = None
    producer.enqueue(act, 1)
    assert len(producer.jobs) == 1


@pytest.mark.parametrize("error", [BufferFull("j", "unit.q", "an outage"), None], ids=["outage", "refusals"])
def test_a_bulk_reads_no_further_than_the_real_one(error: BufferFull | None) -> None:
    """A program that feeds a bulk without an end comes to its handling of an outage, or of a thousand refusals."""
    read = 1 if error is not None else 1_000

    async def endless() -> AsyncIterator[JobCall]:
        while True:
            yield act.call("one")  # type: ignore[arg-type]  # refused, where there is no outage

    producer, awaited = (
        RecordingProducer(pipeline, fails_with=error),
        AsyncRecordingProducer(pipeline, fails_with=error),
    )
    with pytest.raises(BulkFailed) as failed:
        producer.enqueue_many(act.call("one") for _ in range(2_000))  # type: ignore[arg-type]  # as above
    assert (failed.value.read, len(failed.value.failed_indexes)) == (read, read)
    with pytest.raises(BulkFailed) as failed:
        asyncio.run(awaited.enqueue_many(endless()))
    assert (failed.value.read, failed.value.is_temporary) == (read, error is not None)


def test_a_bulk_after_the_end_is_refused_as_a_whole() -> None:
    """As by the real one, also where it is empty."""
    producer = RecordingProducer(pipeline)
    producer.close()
    with pytest.raises(ProducerClosed):
        producer.enqueue_many([])


def test_the_async_one_does_the_same() -> None:
    """Its calls are awaited."""

    async def calls() -> AsyncIterator[JobCall]:
        for number in (3, 4):
            yield act.call(number)

    async def test() -> None:
        async with AsyncRecordingProducer(pipeline) as producer:
            await producer.enqueue(act, 1)
            await (await producer.enqueue_future(act, 2))
            assert (await producer.enqueue_many(calls())).confirmed == 2
            with pytest.raises(PayloadRefused):
                await producer.enqueue(act, "one")  # type: ignore[arg-type]  # the test's point
        assert [job.args for job in producer.jobs] == [(1,), (2,), (3,), (4,)]

    asyncio.run(test())


@pytest.mark.parametrize(("real", "ours"), [(Producer, RecordingProducer), (AsyncProducer, AsyncRecordingProducer)])
def test_they_have_all_public_calls_of_the_real_ones(real: type, ours: type) -> None:
    """With the same parameters, so that a test exercises the program's own lines."""
    for name, call in inspect.getmembers(real, inspect.isfunction):
        if not name.startswith("_"):
            assert list(inspect.signature(getattr(ours, name)).parameters) == list(inspect.signature(call).parameters)
