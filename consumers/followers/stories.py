"""`story_of`: what the record of a dead or late job holds, as the argument of its follower. Pure."""

from __future__ import annotations

from datetime import UTC, datetime

from ...schemas import wire_text
from ...topology import AnyJobType, JobStory, Queue
from ...topology.wire import headers as wire
from ..records.outcomes import Failure
from ..records.record import Record, attempt_or_1, enqueued, first_failed


def story_of(
    record: Record,
    job_type: AnyJobType | None,
    queue: Queue,
    *,
    reason: str,
    at: datetime,
    arguments: str | None = None,
    failure: Failure | None = None,
) -> JobStory:
    """The story of a job.

    Args:
        job_type: None where the pipeline declares none of that name; then the queue's owner answers for it.
        queue: on whose topics the record is.
        arguments: as `JobStory.arguments_json` has them.
        failure: why it is dead; None of a late one, whose record has the last error, if it has failed before.
    """
    error_type, message = _error_of(record, wire.ERROR_TYPE, wire.ERROR_MESSAGE)
    first_type, first_message = _error_of(record, wire.FIRST_ERROR_TYPE, wire.FIRST_ERROR_MESSAGE)
    if not first_type:
        first_type, first_message = error_type, message
    if failure is not None:
        error_type, message = failure.error_type, failure.message
        first_type, first_message = (first_type, first_message) if first_type else (error_type, message)
    since = since_of(record)
    responsible = job_type or queue
    return JobStory(
        reason=reason,
        job_id=wire_text(record.header(wire.JOB_ID)),
        job_type=wire_text(record.header(wire.JOB_TYPE)) if job_type is None else job_type.name,
        queue=queue.name,
        key=_text(record.key),
        tenant=_text(record.tenant),
        attempt=attempt_or_1(record.headers),
        origin=wire_text(record.origin),
        enqueued=enqueued(record),
        at=at,
        waited_s=0.0 if since is None else max((at - since).total_seconds(), 0.0),
        first_failed=first_failed(record.headers) or (None if failure is None else at),
        first_error_type=first_type,
        first_error_message=first_message,
        error_type=error_type,
        error_message=message,
        owner=responsible.owner,
        runbook=responsible.runbook,
        escalation=responsible.escalation,
        arguments_json=arguments,
    )


def _text(value: bytes | None) -> str | None:
    return None if value is None else wire_text(value)


def _error_of(record: Record, error_type: str, message: str) -> tuple[str, str]:
    return wire_text(record.header(error_type)), (record.header(message) or b"").decode("utf-8", "replace")


def since_of(record: Record) -> datetime | None:
    """Since when a job waits: its enqueueing, or its due time if that is later."""
    came, due = enqueued(record), record.header(wire.DUE)
    try:
        instant = None if due is None else wire.parse_instant(due)
    except ValueError:
        instant = None
    known = [one.astimezone(UTC) for one in (came, instant) if one is not None]
    return max(known, default=None)
