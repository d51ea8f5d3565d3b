"""A job that is passed as surely young is not late, however its enqueue time is written."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.consumers.followers.stories import since_of
from stoker.consumers.followers.young_jobs import YoungJobs
from stoker.topology.wire.headers import format_instant
from support.scenes.deliveries import record_of

NOW_S = datetime(2026, 3, 1, 0, 0, 1, tzinfo=UTC).timestamp()


@given(st.floats(0.001, 1e6), st.lists(st.tuples(st.floats(-3, 3), st.floats(-10, 2e6)), min_size=1, max_size=8))
def test_what_is_passed_is_not_late(shortest_s: float, jobs: list[tuple[float, float]]) -> None:
    """Also where the clock is set back between two questions: the former border passes fewer jobs then."""
    young, now_s = YoungJobs(shortest_s), NOW_S
    for later_s, age_s in jobs:
        now_s += later_s
        record = record_of([("ce_time", format_instant(datetime.fromtimestamp(now_s - age_s, UTC)))])
        since = since_of(record)
        assert since is not None
        if young.has(record, now_s):
            assert now_s - since.timestamp() <= shortest_s


def test_most_jobs_that_are_not_late_are_passed() -> None:
    """All but those of the last second before they would be late."""
    young = YoungJobs(30.0)
    for age_s, is_passed in ((0.0, True), (28.9, True), (29.5, False), (31.0, False)):
        came = format_instant(datetime.fromtimestamp(NOW_S - age_s, UTC))
        assert young.has(record_of([("ce_time", came)]), NOW_S) is is_passed


@pytest.mark.parametrize("shift_h", [1, -1])
@pytest.mark.parametrize("form", ["%Y-%m-%dt%H:%M:%S.%fZ", "%Y-%m-%dT%H:%M:%S.%fz", "%Y-%m-%d %H:%M:%S.%fZ", "offset"])
def test_times_that_are_written_otherwise_are_read(form: str, shift_h: int) -> None:
    """Their texts have another order: an old job whose text is young is not passed."""
    came = datetime.fromtimestamp(NOW_S - 40, UTC)
    if form == "offset":
        there = came.astimezone(timezone(timedelta(hours=shift_h)))
        text = there.strftime("%Y-%m-%dT%H:%M:%S.0") + f"{shift_h:+03}:00"
    else:
        text = came.strftime(form)
    assert not YoungJobs(30.0).has(record_of([("ce_time", text.encode())]), NOW_S)
    assert not YoungJobs(30.0).has(record_of([("ce_type", b"work")]), NOW_S)


def test_no_job_is_late_by_a_bound_that_reaches_behind_the_calendar() -> None:
    """`timedelta.max` is one way to say never; the first job would end the worker."""
    record = record_of([("ce_time", format_instant(datetime.fromtimestamp(NOW_S - 1e9, UTC)))])
    assert YoungJobs(timedelta.max.total_seconds()).has(record, NOW_S)
