"""A stop is over when it has been seen to take longer than it may, and not before."""

from __future__ import annotations

from datetime import timedelta

from stoker.consumers.ending.stop_bound import StopBound

GRACE = timedelta(seconds=30)


def over_after(bound: StopBound, from_s: float, *, is_at_once: bool = False, step_s: float = 0.5) -> float:
    """At which second of a clock that begins here the bound is over, looked at every half second."""
    now_s = from_s
    while not bound.is_over(now_s, is_at_once=is_at_once):
        now_s += step_s
        assert now_s < from_s + 1000
    return now_s - from_s


def test_a_stop_may_take_the_grace_and_its_end() -> None:
    """A job that runs until the grace ends is settled after that: 30 s and 10 s."""
    assert over_after(StopBound(GRACE, 10.0, 4.0), 1000.0) == 40.0


def test_a_stop_at_once_waits_for_no_grace() -> None:
    """Whether it is asked for at first, or by a second signal: 4 s from then on, and less where less was left."""
    assert over_after(StopBound(GRACE, 10.0, 4.0), 1000.0, is_at_once=True) == 4.0
    later, late = StopBound(GRACE, 10.0, 4.0), StopBound(GRACE, 10.0, 4.0)
    assert not any(later.is_over(0.5 * tick, is_at_once=False) for tick in range(21))
    assert over_after(later, 10.0, is_at_once=True) == 4.0
    assert not any(late.is_over(0.5 * tick, is_at_once=False) for tick in range(78))  # until 38.5 s
    assert over_after(late, 38.5, is_at_once=True) == 1.5


def test_a_frozen_process_has_the_time_that_it_has_not_seen() -> None:
    """After an hour in a freezer it has all of its time but one second."""
    bound = StopBound(GRACE, 10.0, 4.0)
    assert not bound.is_over(0.0, is_at_once=False)
    assert not bound.is_over(3600.0, is_at_once=False)
    assert over_after(bound, 3600.0) == 39.0


def test_a_bound_that_begins_anew_has_all_its_time() -> None:
    """The thread has turned meanwhile, and the stop has not begun."""
    bound = StopBound(GRACE, 10.0, 4.0)
    assert not any(bound.is_over(0.5 * tick, is_at_once=False) for tick in range(61))
    bound.begin_anew()
    assert over_after(bound, 100.0) == 40.0
