"""Which instants of a schedule are to be fired now, and which are left out. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice, takewhile
from typing import Final

from ...producers.schedules.instants import due_at, instants_after, instants_between
from ...schemas.own_records.schedule_records import FiringOutcome, ScheduleRecord
from ...topology.declaration.timing import SHORTEST_INTERVAL, later

MOST_AT_ONCE: Final = 500
"""Instants of one schedule that are fired in one go; the others follow in the next."""
MOST_COUNTED: Final = 10_000
"""Instants that are left out and counted, at most."""
_MICROSECOND: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """The decision about the next instants of a schedule: which fire, and which are left out.

    Attributes:
        fire: those whose jobs are enqueued, ascending.
        up_to: the last instant that is dealt with so; none up to it is fired later.
        left_out: how many are left out, as far as they were counted.
    """

    fire: tuple[datetime, ...]
    up_to: datetime
    left_out: int = 0

    @property
    def outcome(self) -> FiringOutcome:
        """The outcome of the last instant."""
        return FiringOutcome.FIRED if self.fire else FiringOutcome.MISSED


class Upcoming:
    """The instants of a schedule that were not dealt with, ascending; it looks one ahead.

    Attributes:
        after: none up to this instant comes any more.
        next: the next one; None where there is none.
    """

    def __init__(self, schedule: ScheduleRecord, after: datetime) -> None:
        self.schedule = schedule
        self.after = after
        self._found = instants_after(schedule, after)
        self.next = next(self._found, None)

    @property
    def due_at(self) -> datetime | None:
        """When the next one is due."""
        return None if self.next is None else due_at(self.schedule, self.next)

    def pending(self, now: datetime) -> Pending | None:
        """Decide about the instants that are due; None where none is. The schedule does not move on by this."""
        if self.next is None or due_at(self.schedule, self.next) > now:
            return None
        if is_missed(self.schedule, self.next, now):
            return _after_outage(self.schedule, self.after, now)
        fire = (self.next,) if now - self.next < SHORTEST_INTERVAL else self._due(now)
        return Pending(fire=fire, up_to=fire[-1])

    def _due(self, now: datetime) -> tuple[datetime, ...]:
        found = takewhile(lambda at: due_at(self.schedule, at) <= now, instants_after(self.schedule, self.after))
        return tuple(islice(found, MOST_AT_ONCE))

    def move(self, up_to: datetime) -> None:
        """Note that all up to an instant were dealt with."""
        self.after = up_to
        if up_to == self.next:
            self.next = next(self._found, None)
        else:
            self._found = instants_after(self.schedule, up_to)
            self.next = next(self._found, None)


def is_missed(schedule: ScheduleRecord, instant: datetime, now: datetime) -> bool:
    """Whether an instant that was not fired is beyond the schedule's grace."""
    return instant < _edge(schedule, now)


def _edge(schedule: ScheduleRecord, now: datetime) -> datetime:
    """Instants before it are missed; those after it are overdue at the most."""
    return later(now, -(schedule.grace_ms + schedule.jitter_ms))


def _after_outage(schedule: ScheduleRecord, after: datetime, now: datetime) -> Pending:
    """Decide about instants of which the first was missed, by the schedule's policy."""
    match schedule.missed:
        case "all":
            return _missed_all(schedule, after, now)
        case "skip":
            return _missed_skip(schedule, after, now)
        case _:
            return _missed_latest(schedule, after, now)


def _missed_latest(schedule: ScheduleRecord, after: datetime, now: datetime) -> Pending:
    newest, *others = islice(_due_back(schedule, after, now), MOST_COUNTED)
    return Pending(fire=(newest,), up_to=newest, left_out=len(others))


def _missed_skip(schedule: ScheduleRecord, after: datetime, now: datetime) -> Pending:
    """Leave out the missed instants. The overdue ones, within the grace, fire next."""
    edge = _edge(schedule, now) - _MICROSECOND
    newest, *others = islice(instants_between(schedule, after, edge), MOST_COUNTED)
    return Pending(fire=(), up_to=newest, left_out=1 + len(others))


def _missed_all(schedule: ScheduleRecord, after: datetime, now: datetime) -> Pending:
    limit = max(schedule.missed_limit, 0)
    back = _due_back(schedule, after, now)
    kept = list(islice(back, limit))
    beyond = list(islice(back, MOST_COUNTED))
    if beyond:
        return Pending(fire=(), up_to=beyond[0], left_out=len(beyond))
    fire = tuple(reversed(kept))[:MOST_AT_ONCE]
    return Pending(fire=fire, up_to=fire[-1])


def _due_back(schedule: ScheduleRecord, after: datetime, now: datetime) -> Iterator[datetime]:
    """The instants that are due, the latest first, as far as all before them are due as well.

    A later instant may be due before an earlier one, whose jitter is larger. It waits for that one: the schedule moves
    on past all that it deals with.
    """
    surely_due = max(after, later(now, -schedule.jitter_ms))
    waits = next((at for at in instants_after(schedule, surely_due) if due_at(schedule, at) > now), None)
    return instants_between(schedule, after, now if waits is None else min(now, waits - _MICROSECOND))
