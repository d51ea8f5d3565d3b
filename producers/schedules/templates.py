"""`Template` of a schedule's jobs, made once of a call; the record of each job is filled in when the schedule fires."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from ...schemas.own_records.schedule_records import ScheduleRecord
from ...topology.declaration.job_type import JobCall
from ...topology.declaration.queue import Queue
from ...topology.declaration.timing import later
from ...topology.wire import headers as wire
from ...topology.wire.schedules import scheduled_job_id
from ..record import ANY_PARTITION, BuiltRecord, RecordBuilder, partition_of
from ..transaction_writer import TransactionRecord

LANE_PREFIX: Final = "schedule:"
"""Before the name of a schedule: the key of its jobs, where they wait for each other and have none of their own."""
_OF_EACH_JOB: Final = frozenset({wire.JOB_ID, wire.TIME, wire.TRACE_PARENT, wire.TRACE_STATE})


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """The common part of the records of all jobs of a schedule."""

    job_type: str
    value: bytes
    key: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    expires_ms: int | None


def template_of(builder: RecordBuilder, call: JobCall) -> Template:
    """Make the template of a call; its job type must be prepared.

    Raises:
        CallRefused: a value or an option is refused, for the same reasons as when it is enqueued.
    """
    expires = call.options.expires
    built = builder.build(replace(call, options=replace(call.options, expires=None)))
    return Template(
        job_type=call.job_type.name,
        value=built.value,
        key=built.key,
        headers=tuple(pair for pair in built.headers if pair[0] not in _OF_EACH_JOB),
        expires_ms=round(expires.total_seconds() * 1_000) if isinstance(expires, timedelta) else None,
    )


def job_of(
    schedule: ScheduleRecord, instant: datetime, queue: Queue, partitions: int, now: datetime, job_id: str | None = None
) -> TransactionRecord:
    """The record of the job for an instant, where all of its jobs are alike.

    Args:
        job_id: the id, where it does not follow from the instant.
    """
    job_id = scheduled_job_id(schedule.name, instant) if job_id is None else job_id
    headers = [
        *schedule.headers,
        (wire.JOB_ID, job_id.encode()),
        (wire.TIME, wire.format_instant(now)),
        *_of_schedule(schedule, instant),
    ]
    if schedule.expires_ms is not None:
        headers.append((wire.EXPIRES, wire.format_instant(later(now, schedule.expires_ms))))
    own = dict(schedule.headers)
    tenant = own.get(wire.TENANT)
    key = _key_of(schedule, schedule.key)
    by = tenant if tenant is not None and queue.route_by == "tenant" else key or job_id.encode()
    return TransactionRecord(
        topic=queue.topic_of(wire.priority_of(own)),
        key=key,
        value=schedule.value,
        headers=headers,
        partition=partition_of(by, partitions),
    )


def made_job(schedule: ScheduleRecord, instant: datetime, built: BuiltRecord) -> TransactionRecord:
    """The record of a job that a function of the application has made for an instant."""
    key = _key_of(schedule, built.key)
    partition = built.partition if key == built.key else ANY_PARTITION
    headers = [*built.headers, *_of_schedule(schedule, instant)]
    return TransactionRecord(topic=built.topic, key=key, value=built.value, headers=headers, partition=partition)


def _of_schedule(schedule: ScheduleRecord, instant: datetime) -> wire.HeaderList:
    return [(wire.SCHEDULE, schedule.name.encode()), (wire.SCHEDULED_FOR, wire.format_instant(instant))]


def _key_of(schedule: ScheduleRecord, key: bytes | None) -> bytes | None:
    """Jobs that wait for each other are of one key: their own, or else the schedule's."""
    return f"{LANE_PREFIX}{schedule.name}".encode() if key is None and schedule.overlap == "wait" else key
