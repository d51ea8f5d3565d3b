"""Each broken guarantee of schedules in a fabricated account is found, and a whole account shows none."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chaos.judging.schedules import Fired, Scheduled, broken_schedules
from chaos.notes import Change, Tick
from chaos.timetable import ALONE, CHANGED_S, DECLARED

BEGIN_S, END_S = 1_000_000.0, 1_000_090.0
CHANGED = next(iter(CHANGED_S))


def fired(name: str, for_s: float, mark: str = "") -> Fired:
    """A job of an instant."""
    return Fired(f"{name}@{for_s:.0f}{mark}", name, for_s, for_s + 0.01)


def change(what: str, name: str, detail: str, wall_s: float) -> Change:
    """A note; the monotonic clock began a million seconds later."""
    return Change(what, name, detail, wall_s, wall_s - BEGIN_S)


def ticks(jobs: list[Fired]) -> dict[str, Tick]:
    """Each begins at its instant, and takes half a second."""
    return {one.job_id: Tick(one.for_s, one.for_s + 0.5) for one in jobs}


JOBS = [
    *(fired("each-3", at) for at in range(1_000_002, 1_000_093, 3)),
    *(fired(DECLARED, at, mark) for at in range(1_000_004, 1_000_093, 4) for mark in ("", "#1")),
    *(fired(ALONE, at) for at in range(1_000_001, 1_000_093, 5)),
    *(fired(CHANGED, at) for at in range(1_000_001, 1_000_040)),
    fired(CHANGED, 1_000_050, "!0"),
    *(fired(CHANGED, at) for at in range(1_000_082, 1_000_093, 2)),
]
CHANGES = [
    change("D", "each-3", "3", BEGIN_S),
    change("D", DECLARED, "4", BEGIN_S),
    change("D", ALONE, "1", BEGIN_S),
    change("B", CHANGED, "-", BEGIN_S),
    change("D", CHANGED, "1", BEGIN_S),
    change("B", CHANGED, "-", 1_000_040),
    change("D", CHANGED, "paused", 1_000_041),
    change("T", CHANGED, f"{CHANGED}@1000050!0", 1_000_050),
    change("B", CHANGED, "-", 1_000_080),
    change("D", CHANGED, "2", 1_000_081),
]
WHOLE = Scheduled(fired=JOBS, changes=CHANGES, ticks=ticks(JOBS), until_at_s=END_S)


def rules(scheduled: Scheduled) -> set[str]:
    """Which guarantees it shows broken."""
    return {broken.rule for broken in broken_schedules(scheduled)}


def with_jobs(jobs: list[Fired]) -> Scheduled:
    """Other jobs than these, all of which ran."""
    return replace(WHOLE, fired=jobs, ticks=ticks(jobs))


def without(name: str, for_s: float) -> list[Fired]:
    """All jobs but that of an instant."""
    return [one for one in JOBS if (one.schedule, one.for_s) != (name, for_s)]


def test_a_whole_account_shows_nothing() -> None:
    """Each instant has its jobs, but for those of a pause, and of the schedule that may leave out some."""
    assert rules(WHOLE) == set()


@pytest.mark.parametrize(
    ("jobs", "found"),
    [
        pytest.param([*JOBS, JOBS[3]], {"fired twice"}, id="a record is there twice"),
        pytest.param([*JOBS, fired("each-3", 1_000_004)], {"fired twice"}, id="a job of no instant"),
        pytest.param([*JOBS, fired(DECLARED, 1_000_008, "#2")], {"fired twice"}, id="three of a pair"),
        pytest.param([one for one in JOBS if one.job_id != f"{DECLARED}@1000008#1"], {"fired never"}, id="half a pair"),
        pytest.param(without("each-3", 1_000_047), {"fired never"}, id="an instant without a job"),
        pytest.param(without(CHANGED, 1_000_005), {"fired never"}, id="the same of one that is changed later"),
        pytest.param(without(CHANGED, 1_000_038), set(), id="just before a change"),
        pytest.param(without(CHANGED, 1_000_084), {"fired never"}, id="after the last change"),
        pytest.param(without("each-3", 1_000_092), set(), id="after the end of the wait"),
        pytest.param([*JOBS, fired(CHANGED, 1_000_045)], set(), id="just after the pause was ordered"),
        pytest.param([*JOBS, fired(CHANGED, 1_000_070)], {"fired in pause"}, id="amid the pause"),
        pytest.param([one for one in JOBS if "!" not in one.job_id], {"schedule lost"}, id="triggered, and not there"),
        pytest.param([replace(JOBS[0], made_s=JOBS[0].for_s - 0.1), *JOBS[1:]], {"fired early"}, id="early"),
    ],
)
def test_an_instant_that_fires_never_or_twice_is_found(jobs: list[Fired], found: set[str]) -> None:
    """By the jobs on the topic, and the notes about the changes."""
    assert rules(with_jobs(jobs)) == found


def test_a_job_that_does_not_end_is_found_and_one_that_ran_and_is_not_there() -> None:
    """What was fired runs."""
    some = dict(WHOLE.ticks)
    some[JOBS[3].job_id] = Tick(3.0)
    assert rules(replace(WHOLE, ticks=some)) == {"schedule lost"}
    assert rules(replace(WHOLE, ticks={**WHOLE.ticks, "each-3@7": Tick(0.0, 1.0)})) == {"schedule lost"}


def test_two_jobs_that_overlap_are_found_where_they_must_not() -> None:
    """The job before ends first, retries included."""
    first = next(one.job_id for one in JOBS if one.schedule == ALONE)
    assert rules(replace(WHOLE, ticks={**WHOLE.ticks, first: Tick(BEGIN_S, BEGIN_S + 30)})) == {"schedule overlap"}


def test_a_moved_clock_excuses_those_that_were_changed_and_no_others() -> None:
    """Changed by a moved clock, a schedule begins at another instant."""
    moved = [(38.0, 45.0)]
    for name, found in ((CHANGED, set[str]()), ("each-3", {"fired never"})):
        jobs = [one for one in JOBS if (one.schedule, one.for_s // 10) != (name, 100_001)]
        assert rules(replace(with_jobs(jobs), jumps=moved)) == found
