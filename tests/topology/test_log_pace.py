"""A trouble that lasts is logged at once, and then once an interval."""

from __future__ import annotations

from stoker.topology.log_pace import LogPace


def test_a_lasting_trouble_is_logged_once_an_interval() -> None:
    """The interval begins with each line, so a late one moves those behind it."""
    pace = LogPace(10.0)
    assert [now_s for now_s in range(0, 40, 4) if pace.try_acquire(now_s)] == [0, 12, 24, 36]


def test_nothing_is_logged_before_the_first_instant() -> None:
    """Most troubles are over by then."""
    pace = LogPace(10.0, first_at_s=5.0)
    assert [now_s for now_s in range(20) if pace.try_acquire(now_s)] == [5, 15]


def test_the_first_line_comes_at_once_on_a_clock_that_has_just_begun() -> None:
    """A monotonic clock may begin at 0, or below it in a simulation."""
    assert LogPace().try_acquire(-100.0)


def test_another_trouble_is_logged_at_once() -> None:
    """The one before it may have been logged a moment ago."""
    pace = LogPace(10.0)
    assert pace.try_acquire(0.0)
    pace.begin_anew()
    assert pace.try_acquire(1.0)
    assert not pace.try_acquire(2.0)
