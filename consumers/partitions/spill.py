"""`Spill`: writes the progress of partitions that does not fit their commit's metadata to the queue's progress topic.

It has a producer of its own, made when it is first needed: the settling one flushes, and nothing here may wait for
jobs' outcomes, nor they for this. Nothing here waits for brokers either, but at the end of an assignment, for a moment.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from ...producers.delivery import why_unconfirmed
from ...topology import Queue
from ...topology.cluster.kafka_errors import as_error, is_fatal
from .. import log_keys
from ..records.assignment import Assignment
from ..records.commit_metadata import CommitMetadata

_LOGGER = logging.getLogger("stoker.progress")

INTERVAL_S: Final = 1.0
"""Between two spilled states of one partition: each may be tens of kilobytes, and an older one is as true."""
REST_S: Final = 5.0
"""How long spilling rests after a failure, and between two complaints of it."""


class Spill:
    """The progress topic's writer; owned by the poll thread."""

    def __init__(self, queue: Queue, make_producer: Callable[[], Producer]) -> None:
        self._queue = queue
        self._make_producer = make_producer
        self._producer: Producer | None = None
        self._under_way: set[tuple[str, int]] = set()
        self._next_at_s: dict[tuple[str, int], float] = {}
        self._rest_ends_at_s = 0.0
        self._written: dict[Assignment, CommitMetadata] = {}

    def offer(self, assignment: Assignment, state: CommitMetadata) -> None:
        """Write a state, unless it is written, or another of this partition is under way or was written a moment ago.

        When the brokers have confirmed it, a `serve` notes where it is: `CommitState.spilled_at`.
        """
        if self._written.get(assignment) == state:
            return
        place, now_s = (assignment.topic, assignment.partition), time.monotonic()
        if place not in self._under_way and now_s >= max(self._next_at_s.get(place, 0.0), self._rest_ends_at_s):
            self._write(assignment, state)

    def offer_last(self, assignment: Assignment, state: CommitMetadata) -> None:
        """Write a state, whenever the one before was written: the assignment ends."""
        if time.monotonic() >= self._rest_ends_at_s:
            self._write(assignment, state)

    def _write(self, assignment: Assignment, state: CommitMetadata) -> None:
        place = assignment.topic, assignment.partition
        self._next_at_s[place] = time.monotonic() + INTERVAL_S
        try:
            if self._producer is None:
                self._producer = self._make_producer()
            self._producer.produce(
                self._queue.progress_topic,
                key=assignment.topic,
                value=state.to_bytes(),
                partition=assignment.partition,
                on_delivery=partial(self._note_answer, assignment),
            )
        except (BufferError, KafkaException) as refusal:
            self._complain(assignment, as_error(refusal))
        else:
            self._under_way.add(place)
            self._written = {kept: written for kept, written in self._written.items() if kept.is_active} | {
                assignment: state
            }

    def serve(self) -> None:
        """Take the brokers' answers, as far as they are here."""
        if self._under_way and self._producer is not None:
            self._producer.poll(0)

    def wait(self, timeout_s: float) -> None:
        """Wait for the brokers' answers."""
        if self._under_way and self._producer is not None:
            self._producer.flush(timeout_s)

    def _note_answer(self, assignment: Assignment, error: KafkaError | None, message: Message) -> None:
        self._under_way.discard((assignment.topic, assignment.partition))
        fault = why_unconfirmed(error, message)
        if fault is not None:
            self._complain(assignment, fault)
        else:
            assignment.commit_state.spilled_at = message.offset()

    def _complain(self, assignment: Assignment, cause: KafkaError) -> None:
        """Log what it means; commits go on without, or with what was spilled before."""
        self._written.pop(assignment, None)
        if is_fatal(cause):
            self._producer = None  # the next one is made when it is needed
            self._under_way.clear()
        is_new = time.monotonic() >= self._rest_ends_at_s
        self._rest_ends_at_s = time.monotonic() + REST_S
        if is_new:
            _LOGGER.error(
                "progress cannot be written to %s (%s). Jobs go on, and offsets are committed without what is complete "
                "beyond them: if this process is killed, jobs of %s/%d that are out of the ledger's window by then run "
                "again. Check the topic (`stoker topology plan`), and Write on it; it is tried again every %g s",
                self._queue.progress_topic, cause, assignment.topic, assignment.partition, REST_S,
                extra={log_keys.QUEUE: self._queue.name, log_keys.PARTITIONS: [assignment.partition]},
            )  # fmt: skip
