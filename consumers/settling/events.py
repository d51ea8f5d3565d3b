"""The events of one record: what became of it, and how far its job is. Texts from the wire are bounded here. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import assert_never

from ...schemas import LONGEST_DETAIL, wire_text
from ...schemas.job_events import (
    EventSubject,
    JobCancelled,
    JobDeadLettered,
    JobDeferred,
    JobDiscarded,
    JobEvent,
    JobExpired,
    JobProgressed,
    JobRetried,
    JobSnoozed,
)
from ...topology import Queue
from ...topology.wire import headers as wire
from ..job.heartbeats import JobProgress
from ..records.cancellation import Cancellation
from ..records.outcomes import (
    Cancelled,
    Dead,
    Deferred,
    Done,
    Interrupted,
    Outcome,
    Rescheduled,
    Retried,
    Skipped,
    Snoozed,
)
from ..records.record import Record, attempt_or_1
from .next_records import SettlingContext, utf8


def subject_of(record: Record, queue: Queue) -> EventSubject:
    """The job of a record, and where the record stands."""
    return EventSubject(
        job_id=wire_text(record.headers.get(wire.JOB_ID)),
        job_type=wire_text(record.headers.get(wire.JOB_TYPE)),
        queue=queue.name,
        topic=record.assignment.topic,
        partition=record.assignment.partition,
        offset=record.offset,
        attempt=attempt_or_1(record.headers),
        tenant=wire_text(record.tenant),
    )


def outcome_event(record: Record, outcome: Outcome, context: SettlingContext) -> JobEvent | None:
    """The event of an outcome; plain success has none, and neither has what goes on as before."""
    subject, at, worker = subject_of(record, context.queue), context.now, context.worker_id
    match outcome:
        case Retried(failure=failure):
            message, error_type = _text(failure.message), _name(failure.error_type)
            return JobRetried(subject=subject, at=at, worker=worker, message=message, error_type=error_type)
        case Dead(reason=reason, failure=failure):
            message, error_type = _text(failure.message), _name(failure.error_type)
            return JobDeadLettered(
                subject=subject, at=at, worker=worker, reason=reason, message=message, error_type=error_type
            )
        case Snoozed():
            return JobSnoozed(subject=subject, at=at, worker=worker)
        case Deferred(reason=reason, detail=detail):
            return JobDeferred(subject=subject, at=at, worker=worker, reason=reason, message=_text(detail))
        case Cancelled():
            return _cancelled(record, outcome, context)
        case Done() | Rescheduled() | Skipped() | Interrupted():
            return None
        case _:
            assert_never(outcome)


def _cancelled(record: Record, outcome: Cancelled, context: SettlingContext) -> JobEvent:
    subject, at, worker = subject_of(record, context.queue), context.now, context.worker_id
    message = _text(outcome.detail)
    match outcome.reason:
        case "expired":
            return JobExpired(subject=subject, at=at, worker=worker, message=message)
        case "discarded":
            return JobDiscarded(subject=subject, at=at, worker=worker, message=message)
        case "duplicate":
            by = {"reason": "duplicate", "winner": _text(outcome.winner)}
            return JobCancelled(subject=subject, at=at, worker=worker, message=message, by=by)
        case "cancelled":
            return JobCancelled(subject=subject, at=at, worker=worker, message=message, by=_detail_of(outcome.by))
        case _:
            assert_never(outcome.reason)


def progress_event(
    record: Record, latest: JobProgress, *, queue: Queue, worker_id: str, now: datetime
) -> JobProgressed:
    """The event of a running job's progress."""
    return JobProgressed(
        subject=subject_of(record, queue),
        at=now,
        worker=worker_id,
        message=_text(latest.note),
        done=latest.done,
        total=latest.total,
    )


def _detail_of(by: Cancellation | None) -> dict[str, str]:
    return {} if by is None else {name: _text(value) for name, value in by.detail.items()}


def _text(text: str) -> str:
    return wire_text(utf8(text), LONGEST_DETAIL)


def _name(text: str) -> str:
    return wire_text(utf8(text))
