"""Meters: no window ever holds more than its limit, by an account of the test's own; and nearly all of it is used."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.consumers.meters.meter import Meter, margin_s
from stoker.consumers.meters.meter_kinds import Permits, SlidingWindow, TokenBucket

PER_S = 10.0
ROUNDING_S = 1e-6
"""Times around a thousand seconds have twelve digits behind the point."""
STEPS = st.lists(st.tuples(st.floats(0.0, 4.0), st.integers(1, 4), st.booleans()), max_size=60)
"""How much later, at what cost, and whether the job waits for room or gives up."""


@dataclass
class Begins:
    """What began when; the account is this list, and nothing of the meter's."""

    meter: Meter
    now_s: float = 1_000.0
    begun: list[tuple[float, int]] = field(default_factory=list)

    def play(self, steps: list[tuple[float, int, bool]]) -> None:
        """Let jobs come."""
        for later_s, asked, waits in steps:
            self.now_s += later_s
            cost = self.meter.clipped(asked)
            wait_s = self.meter.wait_s(cost, self.now_s)
            assert (wait_s <= 0.0) == (self.meter.room(self.now_s) >= cost)
            if wait_s > 0.0 and not waits:
                continue
            self.now_s += wait_s
            while self.meter.wait_s(cost, self.now_s) > 0.0:
                self.now_s = math.nextafter(self.now_s, math.inf)  # rounding
            self.meter.acquire(cost, self.now_s)
            self.begun.append((self.now_s, cost))

    def most_in(self, length_s: float) -> int:
        """The most that began in any window of this length."""
        windows = ([cost for at_s, cost in self.begun if 0 <= at_s - first_s < length_s] for first_s, _ in self.begun)
        return max(map(sum, windows), default=0)


@given(STEPS, st.integers(1, 12))
def test_no_window_holds_more_than_its_count(steps: list[tuple[float, int, bool]], count: int) -> None:
    """Wherever the window begins; and a little longer, since a handler begins a little after it is counted."""
    begins = Begins(SlidingWindow(count, per_s=PER_S))
    begins.play(steps)
    assert begins.most_in(PER_S + margin_s(PER_S) - ROUNDING_S) <= count


@given(STEPS, st.integers(1, 12), st.integers(2, 9), st.floats(0.01, 40.0))
def test_a_bucket_lets_go_its_burst_and_what_is_added(
    steps: list[tuple[float, int, bool]], count: int, burst: int, length_s: float
) -> None:
    """In any time `t` at most `burst + count * t / per`."""
    begins = Begins(TokenBucket(count, per_s=PER_S, burst=burst))
    begins.play(steps)
    assert begins.most_in(length_s) <= burst + count * length_s / PER_S + 1e-6


@pytest.mark.parametrize("count", [1, 7, 100])
def test_a_window_is_used_nearly_whole(count: int) -> None:
    """At least 95 % of a limit with jobs that wait all the time; here within ten windows."""
    meter, now_s, begun = SlidingWindow(count, per_s=PER_S), 0.0, 0
    while now_s < 10 * PER_S:
        if meter.wait_s(1, now_s) <= 0.0:
            meter.acquire(1, now_s)
            begun += 1
        else:
            now_s += meter.wait_s(1, now_s) + 1e-9
    assert begun >= 10 * count * 0.95


MAKES: dict[str, Callable[[], Meter]] = {
    "window": lambda: SlidingWindow(6, per_s=PER_S),
    "bucket": lambda: TokenBucket(6, per_s=PER_S, burst=3),
    "permits": lambda: Permits(2),
}


@pytest.mark.parametrize("make", MAKES.values(), ids=MAKES)
@given(steps=STEPS)
def test_a_job_is_taken_at_once_where_it_fits(make: Callable[[], Meter], steps: list[tuple[float, int, bool]]) -> None:
    """In one step as in two: a look whether it fits, and then the count."""
    meter, other = make(), make()
    now_s = 0.0
    for later_s, cost, stays in steps:
        now_s += later_s
        clipped = meter.clipped(cost)
        fits = other.wait_s(clipped, now_s) <= 0.0
        assert meter.try_acquire(clipped, now_s) == fits
        if fits:
            other.acquire(clipped, now_s)
        if fits and not stays:
            meter.end(clipped)
            other.end(clipped)
        assert meter.room(now_s) == other.room(now_s)


@given(STEPS)
def test_what_is_given_back_was_never_taken(steps: list[tuple[float, int, bool]]) -> None:
    """The meter has as much room as one that counted the others alone."""
    meter, other = SlidingWindow(6, per_s=PER_S), SlidingWindow(6, per_s=PER_S)
    now_s = 0.0
    for later_s, cost, stays in steps:
        now_s += later_s
        if meter.wait_s(cost, now_s) > 0.0:
            continue
        meter.acquire(cost, now_s)
        if stays:
            other.acquire(cost, now_s)
        else:
            meter.give_back(cost, now_s)
        assert meter.room(now_s) == other.room(now_s)


def test_a_window_that_was_filled_has_room_one_window_later() -> None:
    """What another worker may have begun counts as begun at the takeover."""
    meter = SlidingWindow(5, per_s=PER_S)
    meter.fill(100.0)
    assert meter.room(109.0) == 0
    assert meter.room(100.0 + PER_S * 1.02) == 5


def test_slots_count_what_runs() -> None:
    """Whatever a job costs, it has one of them."""
    permits = Permits(2)
    assert permits.clipped(7) == 1
    permits.acquire(1, 0.0)
    permits.acquire(1, 0.0)
    assert (permits.wait_s(1, 0.0), permits.room(0.0)) == (math.inf, 0)
    assert permits.end(1)
    assert permits.wait_s(1, 0.0) == 0.0


def test_a_cost_above_the_limit_takes_all_of_it() -> None:
    """It would wait for ever else."""
    window, bucket = SlidingWindow(5, per_s=PER_S), TokenBucket(100, per_s=PER_S, burst=4)
    assert (window.clipped(9), window.wait_s(window.clipped(9), 0.0)) == (5, 0.0)
    assert bucket.wait_s(bucket.clipped(9), 0.0) == 0.0
