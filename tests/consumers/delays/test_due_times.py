"""When a delayed record is looked at: never before its due time, nor long after, and before retention takes it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.consumers.delays.due_times import longest_wait_s, wake_at_ms
from stoker.consumers.progress.assignment import Assignment
from stoker.consumers.records.record import Record
from stoker.consumers.sources.source import Delay, Tier
from stoker.topology.declaration.delays import DelayClass
from stoker.topology.wire.headers import DUE, format_instant
from support.scenes.deliveries import NOW, NOW_S, declare

TIER = timedelta(seconds=10)
LONGEST_S = 100.0


def wakes_in_s(record: Record) -> float:
    """When a record is looked at, in seconds after it was written."""
    assert record.timestamp_ms == NOW_S * 1_000
    return wake_at_ms(record.pairs, record.timestamp_ms, record.assignment.source, LONGEST_S) / 1_000 - NOW_S


@pytest.mark.parametrize(
    ("due_in_s", "expected_s"),
    [
        pytest.param(None, 10.0, id="no due time: after the tier's delay"),
        pytest.param(10.5, 10.501, id="due near the tier's delay: then, and not a microsecond early"),
        pytest.param(60.0, 60.001, id="due long after the tier's delay: then, without a move"),
        pytest.param(1.0, 1.001, id="due before the tier's delay is over: then"),
        pytest.param(100.5, 100.0, id="due after the longest wait: it is written again"),
        pytest.param(-5.0, -4.999, id="overdue: at once"),
    ],
)
def test_a_delayed_record_waits_where_it_is_until_it_is_due(due_in_s: float | None, expected_s: float) -> None:
    """The wake time in seconds after the record was written, for a tier of 10 s."""
    headers = {} if due_in_s is None else {DUE: format_instant(NOW + timedelta(seconds=due_in_s))}
    record = declare().record(headers, assignment=Assignment(2, "t", 0, source=Tier(TIER)))
    assert wakes_in_s(record) == pytest.approx(expected_s, abs=1e-6)


def test_a_record_without_a_due_time_waits_in_no_delay_topic() -> None:
    """A tier has a delay of its own; a class of delays has none."""
    record = declare().record(assignment=Assignment(2, "t", 0, source=Delay(DelayClass.LONG)))
    assert wakes_in_s(record) == 0


def test_a_record_waits_for_three_quarters_of_its_topics_retention_at_the_most() -> None:
    """Then its job is written again, so that the brokers do not delete it."""
    assert longest_wait_s(declare(retention=timedelta(hours=4)).queue) == 3 * 3_600


@given(st.integers(0, 99_000_000))
def test_the_wake_time_is_never_before_a_due_time_within_the_longest_wait(due_in_us: int) -> None:
    """To the microsecond, whatever the floats do."""
    due = NOW + timedelta(microseconds=due_in_us)
    wake_ms = round((wakes_in_s(declare().record({DUE: format_instant(due)})) + NOW_S) * 1_000)
    assert due <= datetime.fromtimestamp(wake_ms / 1_000, UTC) <= due + timedelta(milliseconds=1)


@pytest.mark.parametrize("due", [b"soon", b"\xff", b"", b"2013-01-01T12:00:00", b"0001-01-01T00:00:00+10:00", None])
def test_a_due_time_that_cannot_be_read_is_no_reason_to_wait_or_to_fail(due: bytes | None) -> None:
    """The poll thread goes on; decoding refuses the record later."""
    assert wakes_in_s(declare().record({DUE: due})) <= 10


@pytest.mark.parametrize(
    "due", ["2013-01-01T12:00:07Z", "2013-01-01t13:00:07.000+01:00", "2013-01-01T12:00:06.999999Z"]
)
def test_a_due_time_is_read_however_it_is_written(due: str) -> None:
    """As other publishers write it, or as Stoker does: then each second is read only once."""
    for _ in range(2):
        assert wakes_in_s(declare().record({DUE: due.encode()})) == pytest.approx(7, abs=0.002)
