"""The events of one record: what became of it, and how far its job is. Texts from the wire are bounded here. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TypedDict, assert_never

from ...schemas import LONGEST_DETAIL, wire_text
from ...schemas.own_records.job_events import (
    EventSubject,
    JobDeadLettered,
    JobDeferred,
    JobDiscarded,
    JobEndedByCancel,
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
    Delayed,
    Done,
    Failure,
    Interrupted,
    Outcome,
    Retried,
    Skipped,
    Snoozed,
)
from ..records.record import Record, attempt_or_1, enqueued
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
        key=wire_text(record.key),
        enqueued=enqueued(record),
        replay=wire_text(record.header(wire.REPLAY)),
    )


def outcome_event(record: Record, outcome: Outcome, context: SettlingContext) -> JobEvent | None:
    """The event of an outcome; success has one of many jobs, and what goes on as before has none."""
    common = _Common(record, context)
    match outcome:
        case Retried(failure=failure, due=due):
            return JobRetried(**common.of_all, **common.failed(failure), due=due)
        case Dead(reason=reason, failure=failure):
            return JobDeadLettered(**common.of_all, **common.failed(failure), reason=reason)
        case Snoozed(due=due):
            return JobSnoozed(**common.of_all, began=common.began, due=due)
        case Deferred(reason=reason, detail=detail, due=due):
            return JobDeferred(**common.of_all, reason=reason, message=_text(detail), due=due)
        case Cancelled():
            return _cancelled(outcome, common.of_all)
        case Done() | Delayed() | Skipped() | Interrupted():
            return None
        case _:
            assert_never(outcome)


class _Common:
    """The fields that the events of a record share."""

    def __init__(self, record: Record, context: SettlingContext) -> None:
        self._record, self._context = record, context

    @property
    def of_all(self) -> _OfAll:
        context = self._context
        return {
            "subject": subject_of(self._record, context.queue),
            "at": context.now,
            "worker": context.worker_id,
            "release": context.facts.release,
        }

    @property
    def began(self) -> datetime | None:
        """When the run began; None where none did."""
        began_at_s, context = self._record.began_at_s, self._context
        return context.now - timedelta(seconds=context.facts.monotonic_s - began_at_s) if began_at_s > 0 else None

    def failed(self, failure: Failure) -> _OfFailed:
        return {
            "message": _text(failure.message),
            "error_type": _name(failure.error_type),
            "fingerprint": failure.fingerprint,
            "stack": _end_of(failure.stack),
            "began": self.began,
        }


class _OfAll(TypedDict):
    subject: EventSubject
    at: datetime
    worker: str
    release: str


class _OfFailed(TypedDict):
    message: str
    error_type: str
    fingerprint: str
    stack: str
    began: datetime | None


def _cancelled(outcome: Cancelled, of_all: _OfAll) -> JobEvent:
    message = _text(outcome.detail)
    match outcome.reason:
        case "expired":
            return JobExpired(**of_all, message=message)
        case "discarded":
            return JobDiscarded(**of_all, message=message)
        case "duplicate":
            by = {"reason": "duplicate", "winner": _text(outcome.winner)}
            return JobEndedByCancel(**of_all, message=message, by=by)
        case "cancelled":
            return JobEndedByCancel(**of_all, message=message, by=_detail_of(outcome.by))
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


def _end_of(stack: str) -> str:
    """The innermost part: a burst of failures is not to fill the events' client."""
    return stack if len(stack) <= LONGEST_DETAIL else f"…{stack[-LONGEST_DETAIL:]}"


def _name(text: str) -> str:
    return wire_text(utf8(text))
