"""Instants on the wire: all that can be written can be read again, and means the same."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import example, given
from hypothesis import strategies as st

from stoker.topology.wire.headers import format_instant, parse_instant


@given(st.datetimes(timezones=st.just(UTC)))
@example(datetime.min.replace(tzinfo=UTC))
@example(datetime(999, 12, 31, 23, 59, 59, 999_999, UTC))
def test_an_instant_is_read_as_it_was_written(instant: datetime) -> None:
    """Of any year: a job "due" in the year 1, a program's word for `at once`, must not end as unreadable."""
    assert parse_instant(format_instant(instant)) == instant
