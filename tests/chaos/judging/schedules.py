"""Schedules: each instant has its job, each of these is there once and runs; judged from the topic and the notes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from chaos.notes import Change, Tick
from chaos.timetable import ALONE, CHANGED_S, DECLARED, EVERY_S, JITTER, LATE

OUTAGE_S: Final = 30.0
"""An instant that was due so shortly before its schedule was changed may not have been fired: nobody was there."""
UNAWARE_S: Final = 20.0
"""So long after a change, a worker that was frozen or cut off may fire as before."""
TRIGGERED: Final = "!"
"""In the id of a job that was triggered."""
PAIR: Final = 2
JUMP_S: Final = 45.0
"""More than the wall clock is moved by."""


@dataclass(frozen=True, slots=True)
class Fired:
    """A job of a schedule, as its record is on the topic.

    Attributes:
        for_s: the instant, in epoch seconds.
        made_s: when it was enqueued, by the clock of the worker that did.
    """

    job_id: str
    schedule: str
    for_s: float
    made_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheduled:
    """What is checked of schedules.

    Attributes:
        fired: in the order of their records in each partition.
        until_at_s: all that was due up to then, in epoch seconds, was waited for.
        jumps: when the wall clock was moved: (begin, end).
    """

    fired: Sequence[Fired]
    changes: Sequence[Change]
    ticks: Mapping[str, Tick] = field(default_factory=dict)
    until_at_s: float = 0.0
    jumps: Sequence[tuple[float, float]] = ()


NO_SCHEDULES: Final = Scheduled(fired=(), changes=())


@dataclass(frozen=True, slots=True)
class Broken:
    """A broken guarantee, as `Finding`."""

    rule: str
    what: str


@dataclass(frozen=True, slots=True)
class _Span:
    """A time in which a schedule's state was known: it fires so often, or is paused (0)."""

    schedule: str
    every_s: int
    begin: Change
    end: Change | None


def broken_schedules(scheduled: Scheduled) -> Iterator[Broken]:
    """Each instant fires exactly once, and each job that was fired ends; none is early, and none of a pause."""
    yield from _doubled(scheduled)
    yield from _unended(scheduled)
    yield from _early(scheduled)
    yield from _together(scheduled)
    spans = list(_spans(scheduled.changes))
    instants = {(fired.schedule, fired.for_s) for fired in scheduled.fired}
    for span in spans:
        yield from _never(span, scheduled, instants)
        yield from _paused(span, scheduled)
    yield from _invented(scheduled)


def _doubled(scheduled: Scheduled) -> Iterator[Broken]:
    for job_id, count in Counter(fired.job_id for fired in scheduled.fired).items():
        if count > 1:
            yield Broken("fired twice", f"{job_id} is on the topic {count} times")


def _unended(scheduled: Scheduled) -> Iterator[Broken]:
    on_topic = {fired.job_id for fired in scheduled.fired}
    for fired in scheduled.fired:
        tick = scheduled.ticks.get(fired.job_id)
        if fired.for_s <= scheduled.until_at_s and (tick is None or tick.ended_at_s is None):
            yield Broken("schedule lost", f"{fired.job_id} never ended well")
    for job_id in scheduled.ticks.keys() - on_topic:
        yield Broken("schedule lost", f"{job_id} ran and is not on the topic")
    for change in scheduled.changes:
        if change.what == "T" and change.detail not in on_topic:
            yield Broken("schedule lost", f"{change.detail}, which was triggered, is not on the topic")


def _early(scheduled: Scheduled) -> Iterator[Broken]:
    for fired in scheduled.fired:
        is_moved = fired.schedule == DECLARED and bool(scheduled.jumps)  # its jobs are made a moment after the firing
        if fired.made_s < fired.for_s and not is_moved:
            yield Broken("fired early", f"{fired.job_id} was enqueued {fired.for_s - fired.made_s:.3f} s early")


def _together(scheduled: Scheduled) -> Iterator[Broken]:
    """Of the schedule whose jobs must not overlap, none begins before the one before has ended."""
    names = [fired.job_id for fired in sorted(scheduled.fired, key=lambda one: one.for_s) if fired.schedule == ALONE]
    ticks = [(name, scheduled.ticks[name]) for name in names if name in scheduled.ticks]
    for (name, tick), (later_name, later) in pairwise(ticks):
        if tick.ended_at_s is None or later.start_s < tick.ended_at_s:
            yield Broken("schedule overlap", f"{later_name} began before the end of {name}")


def _spans(changes: Sequence[Change]) -> Iterator[_Span]:
    """The times for which a state is known, each until the next change begins."""
    open_: dict[str, Change] = {}
    for change in changes:
        if change.what == "B" and change.schedule in open_:
            yield _span(open_.pop(change.schedule), change)
        elif change.what == "D":
            open_.setdefault(change.schedule, change)
    for change in open_.values():
        yield _span(change, None)


def _span(begin: Change, end: Change | None) -> _Span:
    return _Span(begin.schedule, 0 if begin.detail == "paused" else int(begin.detail), begin, end)


def _never(span: _Span, scheduled: Scheduled, instants: set[tuple[str, float]]) -> Iterator[Broken]:
    """Instants of a span in which the schedule fires must be there, but for those that it may leave out."""
    if span.every_s == 0 or span.schedule == ALONE or _is_moved(span, scheduled):
        return
    late_s = JITTER.total_seconds() if span.schedule == LATE else 0.0
    until_at_s = scheduled.until_at_s - late_s
    if span.end is not None:
        until_at_s = min(until_at_s, span.end.wall_s - OUTAGE_S)
    at_s = (math.floor(span.begin.wall_s / span.every_s) + 1) * span.every_s
    while at_s <= until_at_s:
        if (span.schedule, float(at_s)) not in instants:
            yield Broken("fired never", f"{span.schedule} has no job for {at_s}")
        at_s += span.every_s


def _is_moved(span: _Span, scheduled: Scheduled) -> bool:
    """Whether the clock was moved, so that it is unknown which instants one that was changed has left out."""
    end_s = math.inf if span.end is None else span.end.at_s
    return span.schedule in CHANGED_S and any(
        begin_s - JUMP_S <= end_s and span.begin.at_s <= last_s + JUMP_S for begin_s, last_s in scheduled.jumps
    )


def _paused(span: _Span, scheduled: Scheduled) -> Iterator[Broken]:
    if span.every_s or span.end is None or _is_moved(span, scheduled):
        return
    for fired in scheduled.fired:
        is_within = span.begin.wall_s + UNAWARE_S < fired.for_s < span.end.wall_s
        if fired.schedule == span.schedule and is_within and TRIGGERED not in fired.job_id:
            yield Broken("fired in pause", f"{fired.job_id} is of a time in which {span.schedule} was paused")


def _invented(scheduled: Scheduled) -> Iterator[Broken]:
    """Of schedules that stay as they are, there are no jobs but those of their instants, one each, or two of a pair."""
    for fired in scheduled.fired:
        seconds = EVERY_S.get(fired.schedule)
        if seconds is not None and fired.for_s % seconds:
            yield Broken("fired twice", f"{fired.job_id} is of no instant of {fired.schedule}")
    pairs = Counter(fired.for_s for fired in scheduled.fired if fired.schedule == DECLARED)
    for for_s, count in pairs.items():
        if count != PAIR and for_s <= scheduled.until_at_s:
            yield Broken("fired twice" if count > PAIR else "fired never", f"{DECLARED} has {count} jobs for {for_s}")
