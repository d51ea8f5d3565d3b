"""Delayed records wait in memory until due, in bounded numbers, and their wake time is never before their due time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.consumers.polling.backpressure import longest_wait_s, wake_at_s
from stoker.consumers.polling.delayed import HeldRecords
from stoker.consumers.records.assignment import Assignment
from stoker.consumers.records.source import Delay, Tier
from stoker.topology.declaration.delays import DelayClass
from stoker.topology.wire.headers import DUE, format_instant
from support.scenes.deliveries import NOW, NOW_S, declare, plain_record

TIER = timedelta(seconds=10)
LONGEST_S = 100.0


@given(st.lists(st.integers(0, 100), max_size=40), st.integers(0, 100), st.integers(0, 40))
def test_what_is_due_comes_out_earliest_first_and_no_more_than_asked(times: list[int], now_s: int, limit: int) -> None:
    """Against a sorted list: the due ones, in their order, up to the limit; the others stay."""
    held = HeldRecords(max_held=1_000, max_bytes=1_000_000)
    for offset, until_s in enumerate(times):
        held.hold(plain_record(offset), until_s)
    due = sorted((until_s, offset) for offset, until_s in enumerate(times) if until_s <= now_s)[:limit]
    assert [record.offset for record in held.pop_due(now_s, limit)] == [offset for _, offset in due]
    assert len(held) == len(times) - len(due)
    rest = sorted(set(range(len(times))) - {offset for _, offset in due}, key=lambda offset: times[offset])
    assert held.next_due_at_s == (times[rest[0]] if rest else None)


def test_a_partition_is_full_at_its_share_and_drained_at_half_of_it() -> None:
    """100 among 4 partitions are 25 each: full at 25, to be resumed at 12."""
    held, place = HeldRecords(max_held=100, max_bytes=1_000_000), Assignment(1, "t", 0)
    for offset in range(25):
        assert not held.is_full(place, 4)
        held.hold(plain_record(offset, assignment=place), float(offset))
    assert held.is_full(place, 4)
    assert len(held.pop_due(11.5, 100)) == 12
    assert not held.is_half_empty(place, 4)
    held.pop_due(12.5, 1)
    assert held.is_half_empty(place, 4)


def test_a_partition_is_full_at_its_share_of_the_bytes_too() -> None:
    """1,000 bytes among 2 partitions are 500 each: five records of 100 bytes, though a hundred might be held."""
    held, delivery, place = HeldRecords(max_held=200, max_bytes=1_000), declare(), Assignment(1, "t", 0)
    record = delivery.record(value=b"", assignment=place)
    filled = delivery.record(value=b"x" * (100 - record.size_bytes), assignment=place)
    for number in range(5):
        assert not held.is_full(place, 2)
        held.hold(filled, float(number))
    assert held.is_full(place, 2)
    held.pop_due(1.0, 100)
    assert not held.is_half_empty(place, 2)
    held.pop_due(2.0, 100)
    assert held.is_half_empty(place, 2)


def test_every_partition_may_hold_one() -> None:
    """However many partitions share, each may wait with one record, and never needs to be empty to take it."""
    held, place = HeldRecords(max_held=1, max_bytes=1_000), Assignment(1, "t", 0)
    assert not held.is_full(place, 50)
    held.hold(plain_record(0, assignment=place), 1.0)
    assert held.is_full(place, 50)


def test_records_of_partitions_that_went_away_are_forgotten() -> None:
    """The rest keeps its order."""
    held, gone = HeldRecords(max_held=100, max_bytes=1_000_000), Assignment(1, "t", 0)
    for offset in range(8):
        held.hold(plain_record(offset, assignment=gone if offset % 2 else None), float(8 - offset))
    held.drop([gone])
    assert [record.offset for record in held.pop_due(100, 100)] == [6, 4, 2, 0]
    assert not held.is_full(gone, 1)


@pytest.mark.parametrize(
    ("due_in_s", "wakes_in_s"),
    [
        pytest.param(None, 10.0, id="no due time: after the tier's delay"),
        pytest.param(10.5, 10.501, id="due near the tier's delay: then, and not a microsecond early"),
        pytest.param(60.0, 60.001, id="due long after the tier's delay: then, without a move"),
        pytest.param(1.0, 1.001, id="due before the tier's delay is over: then"),
        pytest.param(100.5, 100.0, id="due after the longest wait: it is written again"),
        pytest.param(-5.0, -4.999, id="overdue: at once"),
    ],
)
def test_a_delayed_record_waits_where_it_is_until_it_is_due(due_in_s: float | None, wakes_in_s: float) -> None:
    """The wake time in seconds after the record was written, for a tier of 10 s."""
    headers = {} if due_in_s is None else {DUE: format_instant(NOW + timedelta(seconds=due_in_s))}
    record = declare().record(headers, assignment=Assignment(2, "t", 0, source=Tier(TIER)))
    assert wake_at_s(record, LONGEST_S) - NOW_S == pytest.approx(wakes_in_s, abs=1e-6)


def test_a_record_without_a_due_time_waits_in_no_delay_topic() -> None:
    """A tier has a delay of its own; a class of delays has none."""
    record = declare().record(assignment=Assignment(2, "t", 0, source=Delay(DelayClass.LONG)))
    assert wake_at_s(record, LONGEST_S) == NOW_S


def test_a_record_waits_for_three_quarters_of_its_topics_retention_at_the_most() -> None:
    """Then its job is written again, so that the brokers do not delete it."""
    assert longest_wait_s(declare(retention=timedelta(hours=4)).queue) == 3 * 3_600


@given(st.integers(0, 99_000_000))
def test_the_wake_time_is_never_before_a_due_time_within_the_longest_wait(due_in_us: int) -> None:
    """To the microsecond, whatever the floats do."""
    due = NOW + timedelta(microseconds=due_in_us)
    record = declare().record({DUE: format_instant(due)})
    assert datetime.fromtimestamp(wake_at_s(record, LONGEST_S), UTC) >= due


@pytest.mark.parametrize("due", [b"soon", b"\xff", b"", b"2013-01-01T12:00:00", b"0001-01-01T00:00:00+10:00", None])
def test_a_due_time_that_cannot_be_read_is_no_reason_to_wait_or_to_fail(due: bytes | None) -> None:
    """The poll thread goes on; decoding refuses the record later."""
    assert wake_at_s(declare().record({DUE: due}), LONGEST_S) <= NOW_S + 10
