"""The instants of a schedule, as its record on the topic has them. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from hashlib import blake2b
from itertools import takewhile
from typing import Final

from ...schemas.own_records.schedule_records import ScheduleRecord
from ...topology.declaration.timing import EPOCH, Cron, Every, InvalidTiming, Timing, later
from ...topology.wire.schedules import instant_text

_MICROSECOND: Final = timedelta(microseconds=1)
_SHARES: Final = 2**32


def timing_of(schedule: ScheduleRecord) -> Timing:
    """When it fires.

    Raises:
        InvalidTiming: this process cannot read that, such as a time zone that it does not know.
    """
    if schedule.cron is not None:
        return Cron(schedule.cron, schedule.zone)
    try:
        return Every(timedelta(milliseconds=schedule.every_ms or 0), schedule.starts_at or EPOCH)
    except OverflowError:
        raise InvalidTiming(f"the interval of {schedule.every_ms} ms is longer than the calendar") from None


def instants_after(schedule: ScheduleRecord, instant: datetime) -> Iterator[datetime]:
    """A schedule's instants after this one, ascending; none before its making, start or resuming, or after its end."""
    found, end = timing_of(schedule).after(_begin(schedule, instant)), schedule.ends_at
    return found if end is None else takewhile(lambda at: at <= end, found)


def instants_between(schedule: ScheduleRecord, after: datetime, up_to: datetime) -> Iterator[datetime]:
    """A schedule's instants after one instant and up to another, descending: the last one comes first."""
    begin = _begin(schedule, after)
    end = up_to if schedule.ends_at is None else min(up_to, schedule.ends_at)
    return takewhile(lambda at: at > begin, timing_of(schedule).up_to(end))


def _begin(schedule: ScheduleRecord, after: datetime) -> datetime:
    """The instant after which the schedule fires; nothing fires before 1970."""
    starts_at = EPOCH if schedule.starts_at is None else max(schedule.starts_at, EPOCH)
    return max(after, schedule.since, starts_at - _MICROSECOND)


def due_at(schedule: ScheduleRecord, instant: datetime) -> datetime:
    """When the jobs of an instant are enqueued: later by the jitter, which is always alike for one instant."""
    if not schedule.jitter_ms:
        return instant
    seed = f"{schedule.name}@{instant_text(instant)}".encode()
    share = int.from_bytes(blake2b(seed, digest_size=4).digest()) / _SHARES
    return later(instant, schedule.jitter_ms * share)
