"""When schedules fire: cron as Debian reads it, over both changes of daylight saving, and equal intervals."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stoker.topology import InvalidTiming, cron, every
from stoker.topology.declaration.timing import Cron, Timing

ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Santiago", "UTC")
EXPRESSIONS = ("30 2 * * *", "0 2,3 * * *", "*/20 * * * *", "15 0 * * *", "0 1-3 * * 0", "*/30 59 1 * * *")


def texts(found: Iterator[datetime], count: int) -> list[str]:
    """The next instants, in UTC, to the minute."""
    return [f"{at:%m-%d %H:%M}" for at in islice(found, count)]


@pytest.mark.parametrize(
    ("zone", "before", "expected"),
    [
        # Clocks go from 02:00 to 03:00 at 01:00 UTC: there is no 02:30.
        ("Europe/Berlin", datetime(2026, 3, 28, tzinfo=UTC), ["03-28 01:30", "03-29 01:00", "03-30 00:30"]),
        # From 02:00 to 03:00 at 07:00 UTC.
        ("America/New_York", datetime(2026, 3, 7, tzinfo=UTC), ["03-07 07:30", "03-08 07:00", "03-09 06:30"]),
        # By half an hour, from 02:00 to 02:30 at 15:30 UTC of the day before: 02:30 exists, and is the first instant.
        ("Australia/Lord_Howe", datetime(2026, 10, 2, 16, 1, tzinfo=UTC), ["10-03 15:30", "10-04 15:30"]),
    ],
)
def test_what_is_set_for_an_hour_that_is_left_out_fires_at_its_end(
    zone: str, before: datetime, expected: list[str]
) -> None:
    """At 02:30 on each day, also on that on which clocks are put forward: once, and not skipped."""
    assert texts(cron("30 2 * * *", tz=zone).after(before), len(expected)) == expected


@pytest.mark.parametrize(
    ("zone", "before", "expected"),
    [
        # Clocks go back from 03:00 to 02:00 at 01:00 UTC: 02:30 is at 00:30 and at 01:30 UTC.
        ("Europe/Berlin", datetime(2026, 10, 24, 12, tzinfo=UTC), ["10-25 00:30", "10-26 01:30"]),
        # At 06:00 UTC from 02:00 to 01:00; 02:30 is once.
        ("America/New_York", datetime(2026, 10, 31, 12, tzinfo=UTC), ["11-01 07:30", "11-02 07:30"]),
        # By half an hour, from 02:00 to 01:30 at 15:00 UTC of the day before.
        ("Australia/Lord_Howe", datetime(2026, 4, 3, 16, tzinfo=UTC), ["04-04 16:00", "04-05 16:00"]),
    ],
)
def test_what_is_set_for_an_hour_that_comes_twice_fires_once(zone: str, before: datetime, expected: list[str]) -> None:
    """At 02:30 on each day, also on that on which clocks are put back."""
    assert texts(cron("30 2 * * *", tz=zone).after(before), len(expected)) == expected


def test_a_start_amid_the_doubled_hour_does_not_fire_it_again() -> None:
    """A worker that takes over between the two 02:30 knows that the first one was fired."""
    fired = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    amid = datetime(2026, 10, 25, 1, 10, tzinfo=UTC)
    timing = cron("30 2 * * *", tz="Europe/Berlin")
    assert texts(timing.after(fired), 1) == texts(timing.after(amid), 1) == ["10-26 01:30"]


def test_what_fires_every_few_minutes_goes_by_the_time_that_passes() -> None:
    """The doubled hour has twice as many instants, the missing one none."""
    timing = cron("*/30 * * * *", tz="Europe/Berlin")
    back = takewhile(
        lambda at: at < datetime(2026, 10, 25, 2, tzinfo=UTC), timing.after(datetime(2026, 10, 24, 23, 30, tzinfo=UTC))
    )
    assert texts(back, 9) == ["10-25 00:00", "10-25 00:30", "10-25 01:00", "10-25 01:30"]
    assert texts(timing.after(datetime(2026, 3, 29, 0, 30, tzinfo=UTC)), 2) == ["03-29 01:00", "03-29 01:30"]


def test_two_local_times_that_are_one_instant_fire_once() -> None:
    """Where clocks go from 02:00 to 03:00, both hours of `0 2,3` begin at once."""
    found = texts(cron("0 2,3 * * *", tz="Europe/Berlin").after(datetime(2026, 3, 29, tzinfo=UTC)), 3)
    assert found == ["03-29 01:00", "03-30 00:00", "03-30 01:00"]


@settings(max_examples=60)
@given(
    st.sampled_from(EXPRESSIONS),
    st.sampled_from(ZONES),
    st.integers(0, 334 * 86_400).map(lambda s: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=s)),
    st.integers(1, 96),
)
def test_instants_are_the_same_forwards_backwards_and_from_any_start(
    expression: str, zone: str, start: datetime, hours: int
) -> None:
    """They ascend strictly, and a worker that takes over at any moment goes on where another has ended."""
    timing, end = cron(expression, tz=zone), start + timedelta(hours=hours)
    forwards = list(takewhile(lambda at: at <= end, timing.after(start)))
    assert forwards == sorted(set(forwards))
    assert list(takewhile(lambda at: at > start, timing.up_to(end)))[::-1] == forwards
    if forwards:
        middle = forwards[len(forwards) // 2]
        assert list(takewhile(lambda at: at <= end, timing.after(middle))) == forwards[len(forwards) // 2 + 1 :]
        assert list(takewhile(lambda at: at <= end, timing.after(middle + timedelta(seconds=1)))) == [
            at for at in forwards if at > middle + timedelta(seconds=1)
        ]


@pytest.mark.parametrize("timing", [every(timedelta(minutes=5)), every(timedelta(seconds=1.5)), cron("* * * * *")])
def test_instants_do_not_depend_on_when_one_looks(timing: Timing) -> None:
    """Two workers, started at different moments, see the same instants."""
    early, late = datetime(2026, 5, 5, tzinfo=UTC), datetime(2026, 5, 5, 0, 7, 3, 77, tzinfo=UTC)
    end = datetime(2026, 5, 5, 0, 30, tzinfo=UTC)
    from_early = [at for at in takewhile(lambda at: at < end, timing.after(early)) if at > late]
    assert list(takewhile(lambda at: at < end, timing.after(late))) == from_early


def test_the_29th_of_february_comes_every_four_years() -> None:
    """Also where the next one is far."""
    assert texts(cron("0 0 29 2 *").after(datetime(2026, 1, 1, tzinfo=UTC)), 2) == ["02-29 00:00", "02-29 00:00"]


@pytest.mark.parametrize(
    ("make", "part"),
    [
        (lambda: cron("nonsense"), "'nonsense' cannot be read"),
        (lambda: cron("61 * * * *"), "Bad minute"),
        (lambda: cron("0 0 30 2 *"), "30 2"),
        (lambda: cron("0 3 * * *", tz="Berlin"), "did you mean Europe/Berlin"),
        (lambda: cron("0 3 * * *", tz=""), "no time zone ''"),
        (lambda: every(timedelta(0)), "a second or more"),
        (lambda: every(timedelta(seconds=1, microseconds=1)), "whole milliseconds"),
        (lambda: every(timedelta.max), "36,500 days at the most"),
        (lambda: every(5), "must be a timedelta"),  # type: ignore[arg-type]  # what a user may write
    ],
)
def test_what_cannot_be_is_refused_by_name(make: object, part: str) -> None:
    """At declaration, and not by silence at three in the morning."""
    assert callable(make)
    with pytest.raises(InvalidTiming, match=part):
        make()


def test_a_timing_shows_itself_in_one_line() -> None:
    """For lists."""
    assert (str(Cron("0 3 * * *", "Europe/Berlin")), str(every(timedelta(minutes=5)))) == (
        "0 3 * * * Europe/Berlin",
        "every 5m",
    )
