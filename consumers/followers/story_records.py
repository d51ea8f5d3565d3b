"""`StoryRecords`: makes the record of the job that follows a dead letter, or a late job.

Its id is made of the followed job and of what happened to it. So a crash may write it twice, and the ledger of its own
queue lets one of the two run.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from hashlib import blake2b
from typing import Final, Literal

from ...producers.errors import PayloadTooLarge
from ...producers.record import ANY_PARTITION, BuiltRecord, RecordBuilder, partition_of
from ...schemas import wire_text
from ...topology import AnyJobType, CallOptions, JobCall, JobStory, Pipeline, Queue
from ...topology.wire import headers as wire
from ..partitions.ledger import tried_name
from ..records.job_fields import job_fields
from ..records.outcomes import Dead, Outcome, Retried
from ..records.record import Record
from ..settling.next_records import SettlingContext
from ..settling.outgoing import OutgoingRecord
from ..settling.writes import Writer
from .readiness import FollowerReadiness
from .stories import story_of
from .story_arguments import StoryArguments

_LOGGER = logging.getLogger("stoker.followers")

SOURCE: Final = "/stoker/followers"
LONGEST_ID: Final = 200
"""Characters of the followed job's id that go into that of its follower, at most."""
_DIGEST_BYTES: Final = 8
_TRACE: Final = (wire.TRACE_PARENT, wire.TRACE_STATE)


class StoryRecords:
    """The followers of one queue's jobs, which may be of any type of the pipeline."""

    def __init__(self, pipeline: Pipeline, queue: Queue, readiness: FollowerReadiness) -> None:
        self._queue, self._readiness = queue, readiness
        self._types = {name.encode(): job_type for name, job_type in pipeline.job_types.items()}
        self._on_dead = Followers(pipeline, queue, "on_dead")
        self._on_late = Followers(pipeline, queue, "on_late")
        self._arguments = StoryArguments(readiness.store)
        self._builder = RecordBuilder(readiness.store, SOURCE, readiness.partitions)

    @property
    def writers(self) -> Sequence[Writer]:
        """The line of the table of what follows an outcome; none where no job type has a follower of dead letters."""
        return [Writer(follows=(Dead,), plan=self.of_dead, is_ready=self.is_ready)] if self._on_dead else []

    def is_ready(self, record: Record, outcome: Outcome) -> bool:
        """Whether what follows the outcome can be made now; a retry may become a dead letter on its way."""
        if not isinstance(outcome, Dead | Retried):
            return True
        follower = self._on_dead.of(record)
        return follower is None or self._readiness.covers(follower)

    def of_dead(self, record: Record, outcome: Outcome, context: SettlingContext) -> Iterable[OutgoingRecord]:
        """Plan the job that follows a dead letter."""
        follower = self._on_dead.of(record)
        if follower is None or not isinstance(outcome, Dead):
            return ()
        job_type = self._type_of(record)
        story = story_of(
            record,
            job_type,
            self._queue,
            reason=outcome.reason,
            at=context.now,
            arguments=self._arguments.of(record, job_type),
            failure=outcome.failure,
        )
        return self._record_of(record, follower, story, follower_id(record, "dead", tried_name(record)))

    def is_late_ready(self, record: Record) -> bool:
        """Whether what follows a late job can be made now."""
        follower = self._on_late.of(record)
        return follower is None or self._readiness.covers(follower)

    def of_late(self, record: Record, at: datetime) -> tuple[str, Callable[[], Iterable[OutgoingRecord]]]:
        """Plan the job that follows a late one: its id, and what makes its record."""
        job_id = follower_id(record, "late", f"{record.deduplication_id}@{wire_text(record.origin)}")

        def make() -> Iterable[OutgoingRecord]:
            job_type, follower = self._type_of(record), self._on_late.of(record)
            if follower is None:
                return ()
            arguments = self._arguments.of(record, job_type)
            story = story_of(record, job_type, self._queue, reason="late", at=at, arguments=arguments)
            return self._record_of(record, follower, story, job_id)

        return job_id, make

    def _type_of(self, record: Record) -> AnyJobType | None:
        return self._types.get(record.header(wire.JOB_TYPE) or b"")

    def _record_of(
        self, record: Record, follower: AnyJobType, story: JobStory, job_id: str
    ) -> Iterable[OutgoingRecord]:
        try:
            built = self._built(follower, story, CallOptions(job_id=job_id))
        except Exception:  # the application makes its key and tenant: a fault there must not stop the queue
            _LOGGER.exception(
                "job %s has no follower: %r could not be enqueued; it is %s", story.job_id, follower.name, story.reason,
                extra=job_fields(record, self._queue.name),
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

    def _built(self, follower: AnyJobType, story: JobStory, options: CallOptions) -> BuiltRecord:
        """Make the record; without the job's arguments where they are too large for the follower."""
        try:
            return self._builder.build(JobCall(follower, (story,), {}, options))
        except PayloadTooLarge:
            return self._builder.build(JobCall(follower, (replace(story, arguments_json=None),), {}, options))


class Followers:
    """The followers of one queue's jobs: that of their type, or the queue's where no type is declared.

    Falsy where nothing follows any job.
    """

    def __init__(self, pipeline: Pipeline, queue: Queue, option: Literal["on_dead", "on_late"]) -> None:
        def declared(by: AnyJobType | Queue) -> AnyJobType | None:
            follower = by.on_dead if option == "on_dead" else by.on_late
            return None if follower is None else pipeline.job_types[follower.name]

        types = pipeline.job_types.items()
        self._of_types: Mapping[bytes, AnyJobType | None] = {name.encode(): declared(found) for name, found in types}
        self._of_others = declared(queue)

    def __bool__(self) -> bool:
        return self._of_others is not None or any(found is not None for found in self._of_types.values())

    def of(self, record: Record) -> AnyJobType | None:
        """The follower of a job; None where it has none."""
        return self._of_types.get(record.header(wire.JOB_TYPE) or b"", self._of_others)


def follower_id(record: Record, kind: str, event: str) -> str:
    """The id of a follower.

    Args:
        kind: `dead` or `late`.
        event: names what happened to which job; equal for all records about it.
    """
    own = record.header(wire.JOB_ID) or b""
    shown = own.decode() if own.isascii() and own.decode("ascii").isprintable() and b" " not in own else ""
    digest = blake2b(event.encode("utf-8", "surrogatepass"), digest_size=_DIGEST_BYTES).hexdigest()
    return f"{shown[:LONGEST_ID] or 'job'}.{kind}.{digest}"
