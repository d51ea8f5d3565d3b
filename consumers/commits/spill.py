"""`Spill`: writes the progress of partitions that does not fit their commit's metadata to the queue's progress topic.

It writes the chunks that have changed (`partitions/chunk_records.py`), each under a key that no other assignment
writes. A commit refers to them when the brokers have confirmed them; when a later commit is confirmed that needs them
no more, they are deleted. An older state of a chunk is as true as a new one, only less complete.

It has a producer of its own, made when it is first needed: the settling one flushes, and nothing here may wait for
jobs' outcomes, nor they for this. Nothing here waits for brokers either, but at the end of an assignment, for a moment.
"""

from __future__ import annotations

import logging
import math
import secrets
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from ...producers.delivery import why_unconfirmed
from ...topology import Queue
from ...topology.cluster.kafka_errors import as_error
from .. import log_keys
from ..kafka.lazy_producer import LazyProducer
from ..partitions.chunk_records import encode_chunk
from ..progress.assignment import Assignment
from .spilled_chunks import Mark, SpilledChunks

_LOGGER = logging.getLogger("stoker.progress")

INTERVAL_S: Final = 1.0
"""Between two times that chunks of one partition are written, once all that are needed are there."""
WRITE_S: Final = 0.01
"""How long chunks of one partition are written at a time. Compressing one takes the poll thread up to a millisecond."""
REST_S: Final = 5.0
"""How long spilling rests after a failure, and between two warnings of it."""
_EPOCH_BITS: Final = 62


def new_epoch() -> int:
    """A number that no other assignment has, of any worker."""
    return secrets.randbits(_EPOCH_BITS)


class Spill:
    """The progress topic's writer; owned by the poll thread."""

    def __init__(
        self, queue: Queue, make_producer: Callable[[], Producer], make_epoch: Callable[[], int] = new_epoch
    ) -> None:
        self._queue = queue
        self._make_epoch = make_epoch
        self._producer = LazyProducer(make_producer, self._note_finished)
        self._chunks: dict[Assignment, SpilledChunks] = {}
        self._unanswered = 0
        self._ends: defaultdict[int, int] = defaultdict(int)
        self._rest_ends_at_s = 0.0

    def offer(self, assignment: Assignment) -> None:
        """Write some of the chunks that have changed, unless others are on their way or were written a moment ago.

        When the brokers have confirmed all that are needed, a `serve` notes it: `CommitState.spilled_at`.
        """
        chunks, now_s = self._chunks_of(assignment), time.monotonic()
        if not chunks.is_under_way and now_s >= max(chunks.next_at_s, self._rest_ends_at_s):
            self._write(assignment, chunks, now_s + WRITE_S)
            chunks.next_at_s = now_s if chunks.lacks_any else now_s + INTERVAL_S

    def offer_last(self, assignment: Assignment) -> None:
        """Write all chunks that have changed, whenever the ones before were written: the assignment ends."""
        if time.monotonic() >= self._rest_ends_at_s:
            self._write(assignment, self._chunks_of(assignment), math.inf)

    def _chunks_of(self, assignment: Assignment) -> SpilledChunks:
        found = self._chunks.get(assignment)
        if found is None:
            self._chunks = {kept: chunks for kept, chunks in self._chunks.items() if kept.is_active}
            found = SpilledChunks(assignment.topic, assignment.partition, self._make_epoch())
            self._chunks[assignment] = found
        return found

    def _write(self, assignment: Assignment, chunks: SpilledChunks, until_at_s: float) -> None:
        for number, mark in chunks.due(assignment.progress, self._ends[assignment.partition]):
            if not self._write_chunk(assignment, chunks, number, mark) or time.monotonic() >= until_at_s:
                return

    def _write_chunk(self, assignment: Assignment, chunks: SpilledChunks, number: int, mark: Mark) -> bool:
        key, (_, known) = chunks.key(number), mark
        value = encode_chunk(key, known, assignment.progress.incomplete_set().bits_of(number))
        refusal = self._produce(assignment, key, value, partial(self._note_answer, assignment, chunks, number))
        if refusal is None:
            chunks.note_sent(number, mark)
        else:
            self._log_failure(assignment, refusal)
        return refusal is None

    def _produce(
        self,
        assignment: Assignment,
        key: bytes,
        value: bytes | None,
        on_delivery: Callable[[KafkaError | None, Message], None],
    ) -> KafkaError | None:
        """Hand a record over to the client; why it does not take it."""
        try:
            self._producer.client().produce(
                self._queue.progress_topic,
                key=key,
                value=value,
                partition=assignment.partition,
                on_delivery=on_delivery,
            )
        except (BufferError, KafkaException) as refusal:
            return as_error(refusal)
        self._unanswered += 1
        return None

    def serve(self) -> None:
        """Take the brokers' answers, as far as they are here."""
        if self._unanswered:
            self._producer.poll()

    def wait(self, timeout_s: float) -> None:
        """Wait for the brokers' answers."""
        if self._unanswered:
            self._producer.flush(timeout_s)

    def _note_answer(
        self, assignment: Assignment, chunks: SpilledChunks, number: int, error: KafkaError | None, message: Message
    ) -> None:
        self._unanswered = max(0, self._unanswered - 1)  # more than were counted are answered by a client that gave up
        fault, offset = why_unconfirmed(error, message), message.offset()
        if fault is not None or offset is None:
            chunks.note_failed(number)
            self._log_failure(assignment, fault or KafkaError(KafkaError._FAIL))
            return
        chunks.note_confirmed(number, offset)
        self._ends[assignment.partition] = max(self._ends[assignment.partition], offset + 1)
        if not chunks.is_under_way and (spilled_at := chunks.spilled_at) is not None:
            assignment.commit_state.note_spilled(spilled_at)

    # ---- what is needed no more

    def clean(self, assignment: Assignment) -> None:
        """Delete the chunks that the commit which the brokers have taken last needs no more."""
        taken, chunks = assignment.commit_state.taken, self._chunks.get(assignment)
        if taken is None:
            return
        if chunks is not None:
            self._delete_own(assignment, chunks, taken.offset)
        is_own = chunks is not None and taken.spilled_at is not None and taken.spilled_at.epoch == chunks.epoch
        self._delete_former(assignment, None if is_own else taken.offset)

    def clean_last(self, assignment: Assignment) -> None:
        """Delete the chunks that an assignment's last commit does not refer to; the brokers have taken it."""
        self.clean(assignment)
        taken, chunks = assignment.commit_state.taken, self._chunks.get(assignment)
        spilled_at = None if taken is None else taken.spilled_at
        if spilled_at is None:
            self._delete_former(assignment, None)
        if chunks is not None and (spilled_at is None or spilled_at.epoch != chunks.epoch):
            self._delete_own(assignment, chunks, None)

    def _delete_own(self, assignment: Assignment, chunks: SpilledChunks, committed: int | None) -> None:
        """Delete what this assignment has written of chunks below the committed offset, or all of it."""
        self._delete_keys(assignment, [chunks.key(number) for number in chunks.take_past(committed)])

    def _delete_former(self, assignment: Assignment, committed: int | None) -> None:
        """Delete what former owners have written of chunks below the committed offset, or all of it."""
        self._delete_keys(assignment, assignment.commit_state.take_former_chunks(committed))

    def _delete_keys(self, assignment: Assignment, keys: list[bytes]) -> None:
        """Have them deleted, if all goes well; those that stay do no harm."""
        for key in keys:
            if self._produce(assignment, key, None, self._note_deleted) is not None:
                return

    def _note_deleted(self, _error: KafkaError | None, _message: Message) -> None:
        self._unanswered = max(0, self._unanswered - 1)

    # ---- when it fails

    def _note_finished(self, error: KafkaError) -> None:
        """Write again what a finished client has not answered, since it answers no more; after a rest."""
        self._unanswered = 0
        for chunks in self._chunks.values():
            chunks.note_all_failed()
        if self._begin_rest():
            _LOGGER.error(
                "progress cannot be written to %s: its client has failed for good (%s). Jobs go on, and offsets are "
                "committed without what is complete beyond them: if this process is killed, jobs that are out of the "
                "ledger's window by then run again. Another client is made; it is tried again every %g s",
                self._queue.progress_topic, error, REST_S, extra={log_keys.QUEUE: self._queue.name},
            )  # fmt: skip

    def _log_failure(self, assignment: Assignment, cause: KafkaError) -> None:
        """Log what it means; commits go on without, or with what was spilled before."""
        if self._begin_rest():
            _LOGGER.error(
                "progress cannot be written to %s (%s). Jobs go on, and offsets are committed without what is complete "
                "beyond them: if this process is killed, jobs of %s/%d that are out of the ledger's window by then run "
                "again. Check the topic (`stoker topology plan`), and Write on it; it is tried again every %g s",
                self._queue.progress_topic, cause, assignment.topic, assignment.partition, REST_S,
                extra={log_keys.QUEUE: self._queue.name, log_keys.PARTITIONS: [assignment.partition]},
            )  # fmt: skip
        self._producer.drop_if_fatal(cause)

    def _begin_rest(self) -> bool:
        """Write nothing for a while. Returns whether this is to be logged: no rest was under way."""
        now_s = time.monotonic()
        is_new, self._rest_ends_at_s = now_s >= self._rest_ends_at_s, now_s + REST_S
        return is_new
