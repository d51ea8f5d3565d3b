"""From a schedule as it is declared to its record on the topic, and what of a record has changed. Pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final, cast

from ...schemas.own_records.schedule_records import ScheduleRecord
from ...topology.declaration.schedule import Missed, Overlap, Schedule, ScheduleOptions
from ...topology.declaration.timing import Cron
from ...topology.durations import of_milliseconds
from .templates import Template

_BOOKKEEPING: Final = ("version", "since", "is_paused", "operator", "host", "at", "reason", "detail")
"""Fields about who made the schedule, and when; they change nothing that it does."""
_MILLISECOND: Final = timedelta(milliseconds=1)


def record_of(
    schedule: Schedule, template: Template | None, *, is_declared: bool, since: datetime, by: ScheduleRecord
) -> ScheduleRecord:
    """The record of a schedule.

    Args:
        template: what its jobs have in common; None where a function of the application makes them.
        since: it fires after this instant.
        by: has who makes it, where, when and why.
    """
    timing = schedule.timing
    return replace(
        by,
        name=schedule.name,
        queue=schedule.queue.name,
        job_type="" if template is None else template.job_type,
        cron=timing.expression if isinstance(timing, Cron) else None,
        zone=timing.zone if isinstance(timing, Cron) else "UTC",
        every_ms=None if isinstance(timing, Cron) else timing.interval // _MILLISECOND,
        starts_at=_utc(schedule.start),
        ends_at=_utc(schedule.end),
        since=since,
        jitter_ms=schedule.jitter // _MILLISECOND,
        missed=schedule.missed,
        missed_limit=schedule.missed_limit,
        grace_ms=schedule.grace // _MILLISECOND,
        overlap=schedule.overlap,
        is_declared=is_declared,
        value=None if template is None else template.value,
        key=None if template is None else template.key,
        expires_ms=None if template is None else template.expires_ms,
        headers=() if template is None else template.headers,
        owner=schedule.owner,
        description=schedule.description,
    )


def options_of(record: ScheduleRecord) -> ScheduleOptions:
    """The options with which a schedule was made."""
    return ScheduleOptions(
        missed=cast("Missed", record.missed),
        missed_limit=record.missed_limit,
        grace=of_milliseconds(record.grace_ms),
        overlap=cast("Overlap", record.overlap),
        jitter=of_milliseconds(record.jitter_ms),
        start=record.starts_at,
        end=record.ends_at,
        owner=record.owner,
        description=record.description,
    )


def template_in(record: ScheduleRecord) -> Template | None:
    """The template of a schedule's jobs; None where a function makes them."""
    if record.value is None:
        return None
    return Template(
        job_type=record.job_type,
        value=record.value,
        key=record.key,
        headers=record.headers,
        expires_ms=record.expires_ms,
    )


def is_same(one: ScheduleRecord, other: ScheduleRecord) -> bool:
    """Whether two records let the same jobs run at the same times."""
    kept = {name: getattr(one, name) for name in _BOOKKEEPING}
    return replace(other, **kept) == one


def has_same_instants(one: ScheduleRecord, other: ScheduleRecord) -> bool:
    """Whether two records fire at the same instants, as far as both do."""
    fields = ("cron", "zone", "every_ms", "starts_at")
    return all(getattr(one, name) == getattr(other, name) for name in fields)


def _utc(instant: datetime | None) -> datetime | None:
    return None if instant is None else instant.astimezone(UTC)
