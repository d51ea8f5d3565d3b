"""`ScheduleView`: a schedule with what it has fired last and fires next, for people and programs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from ...schemas.own_records.schedule_records import LastFiring, ScheduleRecord
from ...topology.declaration.timing import InvalidTiming
from .book import ScheduleBook
from .instants import instants_after, timing_of


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleView:
    """A schedule as it stands.

    Attributes:
        last: what it has fired last; None where it never has.
        next_at: the next instant; None where it is paused, has ended, or cannot be read here.
        fired_by: the worker that fires the schedules of its queue, as it was written last.
    """

    schedule: ScheduleRecord
    last: LastFiring | None
    next_at: datetime | None
    fired_by: str | None

    @property
    def name(self) -> str:
        """The schedule's name."""
        return self.schedule.name

    @property
    def timing(self) -> str:
        """When it fires, in one line."""
        try:
            return str(timing_of(self.schedule))
        except InvalidTiming as fault:
            return str(fault)


def view_of(book: ScheduleBook, schedule: ScheduleRecord, now: datetime) -> ScheduleView:
    """Look at a schedule."""
    last, owner = book.last_firing(schedule.name), book.owners.get(schedule.queue)
    upcoming = next_instants(book, schedule, now, 1)
    return ScheduleView(
        schedule=schedule,
        last=last,
        next_at=upcoming[0] if upcoming else None,
        fired_by=None if owner is None else owner.worker,
    )


def next_instants(book: ScheduleBook, schedule: ScheduleRecord, now: datetime, count: int) -> list[datetime]:
    """The next instants of a schedule; none while it is paused."""
    if schedule.is_paused:
        return []
    last = book.last_firing(schedule.name)
    after = now if last is None else max(now, last.instant)
    try:
        return list(islice(instants_after(schedule, after), count))
    except InvalidTiming:
        return []
