"""Which instants fire now: late ones do, missed ones follow the policy, and nothing depends on when one looks."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from stoker.consumers.schedules.ended_jobs import is_complete
from stoker.consumers.schedules.pending import MOST_AT_ONCE, Upcoming
from stoker.producers.schedules.instants import due_at
from stoker.schemas.own_records.schedule_records import ScheduleRecord
from stoker.topology import InvalidTiming
from stoker.topology.wire.commit_metadata import CommitMetadata, SpilledAt

NOON = datetime(2026, 5, 5, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def schedule(**fields: Any) -> ScheduleRecord:
    """One that fires each minute from noon on; what is older than two minutes is missed."""
    given = {"every_ms": 60_000, "grace_ms": 120_000, "since": NOON, **fields}
    return ScheduleRecord(name="s", version="1", queue="q", operator="ann", host="h", at=NOON, **given)


def minutes(upcoming: Upcoming, now: datetime) -> tuple[list[int], int, int]:
    """(minutes past noon that fire, the last one that is dealt with, how many are left out)."""
    pending = upcoming.pending(now)
    assert pending is not None
    fire = [(at - NOON) // MINUTE for at in pending.fire]
    return fire, (pending.up_to - NOON) // MINUTE, pending.left_out


def test_nothing_fires_before_its_time() -> None:
    """Not a microsecond early; then at once."""
    upcoming = Upcoming(schedule(), NOON)
    assert upcoming.pending(NOON + MINUTE - timedelta(microseconds=1)) is None
    assert minutes(upcoming, NOON + MINUTE) == ([1], 1, 0)


@pytest.mark.parametrize("missed", ["skip", "latest", "all"])
def test_what_is_late_but_not_missed_fires_whatever_the_policy_is(missed: str) -> None:
    """Two workers died one after the other, and two minutes are late."""
    assert minutes(Upcoming(schedule(missed=missed), NOON), NOON + 2 * MINUTE) == ([1, 2], 2, 0)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"missed": "latest"}, ([10], 10, 9)),
        ({"missed": "skip"}, ([], 7, 7)),  # those from the 8th minute on are late, and fire next
        ({"missed": "all"}, (list(range(1, 11)), 10, 0)),
        ({"missed": "all", "missed_limit": 4}, ([], 6, 6)),  # the others fire next
    ],
)
def test_what_was_missed_follows_the_policy(fields: dict[str, Any], expected: tuple[list[int], int, int]) -> None:
    """After ten minutes without a worker."""
    assert minutes(Upcoming(schedule(**fields), NOON), NOON + 10 * MINUTE) == expected


@pytest.mark.parametrize("missed", ["skip", "latest", "all"])
@pytest.mark.parametrize("jitter_s", [0, 50, 90, 300])
def test_no_instant_is_passed_over_whatever_its_jitter(missed: str, jitter_s: int) -> None:
    """Each fires or is counted as left out, also where a later one is due before it, as after half an hour's outage."""
    for number in range(20):
        one = replace(schedule(missed=missed, jitter_ms=jitter_s * 1_000), name=f"s{number}")
        upcoming, dealt_with, now = Upcoming(one, NOON), 0, NOON + 30 * MINUTE
        while now < NOON + 50 * MINUTE:
            pending = upcoming.pending(now)
            if pending is None:
                now += timedelta(seconds=7)
                continue
            assert all(due_at(one, at) <= now for at in pending.fire)
            dealt_with += len(pending.fire) + pending.left_out
            upcoming.move(pending.up_to)
            assert dealt_with == (pending.up_to - NOON) // MINUTE


def test_a_long_outage_is_not_walked_through() -> None:
    """A schedule of every second, and a year without workers: the last one, at once."""
    upcoming = Upcoming(schedule(every_ms=1_000), NOON)
    pending = upcoming.pending(NOON + timedelta(days=365))
    assert pending is not None
    assert pending.fire == (NOON + timedelta(days=365),)


def test_a_backlog_fires_in_parts() -> None:
    """In order, so that one transaction is not too large."""
    upcoming = Upcoming(schedule(every_ms=1_000, grace_ms=10**9), NOON)
    pending = upcoming.pending(NOON + timedelta(seconds=MOST_AT_ONCE + 5))
    assert pending is not None
    assert len(pending.fire) == MOST_AT_ONCE
    upcoming.move(pending.up_to)
    rest = upcoming.pending(NOON + timedelta(seconds=MOST_AT_ONCE + 5))
    assert rest is not None
    assert len(rest.fire) == 5


def test_start_and_end_bound_the_instants() -> None:
    """Both are instants at which it may fire."""
    upcoming = Upcoming(schedule(starts_at=NOON + 3 * MINUTE, ends_at=NOON + 4 * MINUTE), NOON)
    assert minutes(upcoming, NOON + 4 * MINUTE) == ([3, 4], 4, 0)
    upcoming.move(NOON + 4 * MINUTE)
    assert upcoming.next is None
    assert upcoming.pending(NOON + 9 * MINUTE) is None


def test_a_start_at_the_beginning_of_the_calendar_is_none() -> None:
    """There is no instant before it to begin after."""
    upcoming = Upcoming(schedule(starts_at=datetime.min.replace(tzinfo=UTC)), NOON)
    assert minutes(upcoming, NOON + 2 * MINUTE) == ([1, 2], 2, 0)


def test_jitter_is_alike_for_one_instant_and_spreads_others() -> None:
    """Each worker computes the same; and late is what is later than its jitter."""
    one = schedule(jitter_ms=30_000)
    found = [due_at(one, NOON + number * MINUTE) - (NOON + number * MINUTE) for number in range(100)]
    assert found == [due_at(one, NOON + number * MINUTE) - (NOON + number * MINUTE) for number in range(100)]
    assert all(timedelta(0) <= length < timedelta(seconds=30) for length in found)
    assert len(set(found)) > 90


@pytest.mark.parametrize(
    ("offset", "committed", "state", "expected"),
    [
        (4, 5, None, True),
        (5, 5, None, False),
        (6, 5, CommitMetadata(committed_offset=5, position=9, incomplete=((5, 6),)), True),
        (5, 5, CommitMetadata(committed_offset=5, position=9, incomplete=((5, 6),)), False),
        (9, 5, CommitMetadata(committed_offset=5, position=9, incomplete=((5, 6),)), False),
        (6, 5, CommitMetadata(committed_offset=5, position=9, spilled_at=SpilledAt(1, 2)), False),
        (0, -1001, None, False),
    ],
)
def test_a_commit_says_whether_a_job_has_ended(
    offset: int, committed: int, state: CommitMetadata | None, expected: bool
) -> None:
    """By its runs where it has them; a job that is not known to have ended has not."""
    assert is_complete(offset, committed, None if state is None else state.encode()) is expected


LONGEST_MS = 2**63 - 1


@pytest.mark.parametrize(
    ("fields", "fires"),
    [
        ({"grace_ms": LONGEST_MS}, [10]),  # "never missed": all ten are late, and the first comes first
        ({"grace_ms": timedelta.max // timedelta(milliseconds=1)}, [10]),
        ({"jitter_ms": LONGEST_MS}, None),
        ({"starts_at": datetime.min.replace(tzinfo=UTC)}, [10]),
        ({"since": datetime.max.replace(tzinfo=UTC)}, None),
        ({"missed": "all", "missed_limit": -1}, []),
    ],
)
def test_no_length_of_time_is_too_long_to_fire(fields: dict[str, Any], fires: list[int] | None) -> None:
    """A schedule may be declared, or written by another program, with `for ever`: the worker must not end over it."""
    upcoming = Upcoming(schedule(**fields), NOON)
    if fires is None:
        assert upcoming.pending(NOON + 10 * MINUTE) is None
    else:
        assert minutes(upcoming, NOON + 10 * MINUTE)[0][-1:] == fires


@pytest.mark.parametrize(
    ("every_ms", "why"),
    [(LONGEST_MS, "longer than the calendar"), (timedelta.max // timedelta(milliseconds=1), "days at the most")],
)
def test_an_interval_beyond_the_calendar_is_refused_like_any_other_that_cannot_be_read(every_ms: int, why: str) -> None:
    """The worker logs it, and goes on with the other schedules."""
    with pytest.raises(InvalidTiming, match=why):
        Upcoming(schedule(every_ms=every_ms), NOON)
