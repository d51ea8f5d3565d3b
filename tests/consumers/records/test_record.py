"""`Record`: what is read of a Kafka message, where Kafka allows more than a worker's headers need."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from confluent_kafka import Message

from stoker.consumers.progress.assignment import Assignment
from stoker.consumers.records.outcomes import Snoozed
from stoker.consumers.records.record import Record, attempt_of, enqueued
from stoker.consumers.settling.writes import plan_writes
from stoker.consumers.unique.arrival import utc_of
from stoker.topology.declaration.delays import DelayClass
from stoker.topology.wire import headers as wire
from support.scenes.deliveries import declare


def record_with(pairs: list[tuple[str, bytes | None]], timestamp_ms: int = 0) -> Record:
    """A record with these headers, in this order."""
    message = Message(
        topic="unit.q",
        partition=0,
        offset=7,
        headers=pairs,  # type: ignore[arg-type]  # the stub's list is invariant
        timestamp=(1, timestamp_ms),
    )
    return Record(message, Assignment(1, "unit.q", 0))


@pytest.mark.parametrize("last", [b"3", None])
def test_of_a_header_that_stands_twice_the_last_one_counts(last: bytes | None) -> None:
    """As in Kafka's own clients and in the wire contract: for the worker's own headers, and for the caller's."""
    pairs = [("ce_id", b"first"), (wire.ATTEMPT, b"2"), ("ce_id", b"last"), (wire.ATTEMPT, last), ("tenant", b"a")]
    record = record_with([*pairs, ("tenant", b"b")])
    assert (record.deduplication_id, record.headers["tenant"]) == ("last", b"b")
    if last is not None:
        assert attempt_of(record.headers) == 3
    assert record.pairs == [*pairs, ("tenant", b"b")]


def test_headers_that_stand_twice_travel_along_as_they_came() -> None:
    """A caller's own keep their number and order; those that workers set are there once afterwards."""
    delivery = declare()
    record = record_with(
        [("ce_id", b"1"), ("tenant", b"a"), (wire.REASON, b"x"), ("tenant", b"b"), (wire.REASON, b"y")]
    )
    outcome = Snoozed(due=datetime(2013, 1, 1, tzinfo=UTC), delay=DelayClass.SHORT)
    (following,) = plan_writes(record, outcome, queue=delivery.queue, worker_id="w1", now=outcome.due).records
    assert [value for name, value in following.headers if name == "tenant"] == [b"a", b"b"]
    assert [value for name, value in following.headers if name == wire.REASON] == [b"snoozed"]


@pytest.mark.parametrize(("timestamp_ms", "year"), [(0, None), (253_402_300_799_999, 9999), (2**62, None)])
@pytest.mark.parametrize("stated", [[], [(wire.TIME, b"soon")]])
def test_a_record_may_be_of_a_time_that_no_calendar_has(
    stated: list[tuple[str, bytes | None]], timestamp_ms: int, year: int | None
) -> None:
    """Brokers before Kafka 4 take any number, such as microseconds: that must not end the worker, which reads it."""
    at = enqueued(record_with(stated, timestamp_ms))
    assert (None if at is None else at.year) == year
    assert utc_of(2**62).year == 9999
