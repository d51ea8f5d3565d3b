"""`StoryRecords`: makes the record of the job that follows a dead letter, or a late job.

Its id is made of the followed job and of what happened to it. So a crash may write it twice, and the ledger of its own
queue lets one of the two run.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Final

from ...producers.record import ANY_PARTITION, RecordBuilder, partition_of
from ...schemas import wire_text
from ...topology import AnyJobType, CallOptions, JobCall, JobStory, Pipeline
from ...topology.wire import headers as wire
from ..partitions.ledger import tried_name
from ..records.job_fields import job_fields
from ..records.outcomes import Dead, Failure, Outcome, Retried
from ..records.record import Record, attempt_or_1, first_failed
from ..settling.events import enqueued
from ..settling.next_records import SettlingContext
from ..settling.outgoing import OutgoingRecord
from ..settling.writes import Writer
from .readiness import FollowerReadiness

_LOGGER = logging.getLogger("stoker.followers")

SOURCE: Final = "/stoker/followers"
LONGEST_ID: Final = 200
"""Of the followed job's id, as much goes into that of its follower."""
_DIGEST_BYTES: Final = 8
_TRACE: Final = (wire.TRACE_PARENT, wire.TRACE_STATE)


class StoryRecords:
    """The followers of one queue's jobs, which may be of any type of the pipeline."""

    def __init__(self, pipeline: Pipeline, queue: str, readiness: FollowerReadiness) -> None:
        self._queue, self._readiness = queue, readiness
        self._types = {name.encode(): job_type for name, job_type in pipeline.job_types.items()}
        self._on_dead, self._on_late = _followers(pipeline, "on_dead"), _followers(pipeline, "on_late")
        self._builder = RecordBuilder(readiness.store, SOURCE, readiness.partitions)

    @property
    def writers(self) -> Sequence[Writer]:
        """The line of the table of what follows an outcome; none where no job type has a follower of dead letters."""
        return [Writer(follows=(Dead,), plan=self.of_dead, is_ready=self.is_ready)] if self._on_dead else []

    def is_ready(self, record: Record, outcome: Outcome) -> bool:
        """Whether what follows the outcome can be made now; a retry may become a dead letter on its way."""
        if not isinstance(outcome, Dead | Retried):
            return True
        follower = self._on_dead.get(record.header(wire.JOB_TYPE) or b"")
        return follower is None or self._readiness.covers(follower)

    def of_dead(self, record: Record, outcome: Outcome, context: SettlingContext) -> Iterable[OutgoingRecord]:
        """Plan the job that follows a dead letter."""
        name = record.header(wire.JOB_TYPE) or b""
        follower = self._on_dead.get(name)
        if follower is None or not isinstance(outcome, Dead):
            return ()
        story = story_of(
            record,
            self._types[name],
            self._queue,
            reason=outcome.reason,
            at=context.now,
            failure=outcome.failure,
        )
        return self._record_of(record, follower, story, follower_id(record, "dead", tried_name(record)))

    def is_late_ready(self, record: Record) -> bool:
        """Whether what follows a late job can be made now."""
        follower = self._on_late.get(record.header(wire.JOB_TYPE) or b"")
        return follower is None or self._readiness.covers(follower)

    def of_late(self, record: Record, at: datetime) -> tuple[str, Callable[[], Iterable[OutgoingRecord]]]:
        """Plan the job that follows a late one: its id, and what makes its record."""
        name = record.header(wire.JOB_TYPE) or b""
        job_id = follower_id(record, "late", f"{record.deduplication_id}@{wire_text(record.origin)}")

        def make() -> Iterable[OutgoingRecord]:
            story = story_of(record, self._types[name], self._queue, reason="late", at=at)
            return self._record_of(record, self._on_late[name], story, job_id)

        return job_id, make

    def _record_of(
        self, record: Record, follower: AnyJobType, story: JobStory, job_id: str
    ) -> Iterable[OutgoingRecord]:
        call = JobCall(follower, (story,), {}, CallOptions(job_id=job_id))
        try:
            built = self._builder.build(call)
        except Exception:  # the application makes its key and tenant: a fault there must not stop the queue
            _LOGGER.exception(
                "job %s has no follower: %r could not be enqueued; it is %s", story.job_id, follower.name, story.reason,
                extra=job_fields(record, self._queue),
            )  # fmt: skip
            return ()
        partition = built.partition
        if partition == ANY_PARTITION and built.key is not None:
            partition = partition_of(built.key, self._readiness.partitions[follower.queue.topic])
        trace = [(name, value) for name in _TRACE if (value := record.header(name))]
        headers = [*(pair for pair in built.headers if pair[0] not in _TRACE), *trace]
        return (
            OutgoingRecord(topic=built.topic, partition=partition, key=built.key, value=built.value, headers=headers),
        )


def _followers(pipeline: Pipeline, option: str) -> dict[bytes, AnyJobType]:
    """{name on the wire: its follower} of the job types that declare one."""
    named = {name: getattr(job_type, option) for name, job_type in pipeline.job_types.items()}
    return {name.encode(): pipeline.job_types[found.name] for name, found in named.items() if found is not None}


def follower_id(record: Record, kind: str, event: str) -> str:
    """The id of a follower.

    Args:
        kind: `dead` or `late`.
        event: names what happened to which job; equal for all records that tell of it.
    """
    own = record.header(wire.JOB_ID) or b""
    shown = own.decode() if own.isascii() and own.decode("ascii").isprintable() and b" " not in own else ""
    digest = blake2b(event.encode("utf-8", "surrogatepass"), digest_size=_DIGEST_BYTES).hexdigest()
    return f"{shown[:LONGEST_ID] or 'job'}.{kind}.{digest}"


def story_of(
    record: Record, job_type: AnyJobType, queue: str, *, reason: str, at: datetime, failure: Failure | None = None
) -> JobStory:
    """The story of a job.

    Args:
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
    return JobStory(
        reason=reason,
        job_id=wire_text(record.header(wire.JOB_ID)),
        job_type=job_type.name,
        queue=queue,
        key=None if record.key is None else wire_text(record.key),
        tenant=None if record.tenant is None else wire_text(record.tenant),
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
        owner=job_type.owner,
        runbook=job_type.runbook,
        escalation=job_type.escalation,
    )


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
