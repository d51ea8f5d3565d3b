"""`OldOffsets`: asks the brokers up to which offset the records of partitions are old, in a thread of its own."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Collection, Mapping
from typing import Final, Protocol

from confluent_kafka import Consumer, KafkaException, TopicPartition

from .. import log_keys
from ..kafka.log_tail import REQUEST_TIMEOUT_S
from ..progress.assignment import Assignment

_LOGGER = logging.getLogger("stoker.worker")

ALL: Final = sys.maxsize
"""The offset that says that all records of a partition are old."""
Offsets = Mapping[Assignment, int]
"""{assignment: the offset below which all records are old}."""


class AgeSource(Protocol):
    """Finds old records; owned by the poll thread, which it never blocks."""

    def ask(self, assignments: Collection[Assignment], before_ms: int) -> None:
        """Begin to find the records that the brokers took before this epoch time; one question at a time."""

    def pop(self) -> Offsets | None:
        """Return the answer, once; None while there is none. Partitions without an answer are left out."""


class OldOffsets:
    """The source of a worker. Each question has a client of its own: hours lie between two of them."""

    def __init__(self, queue: str, make_consumer: Callable[[], Consumer]) -> None:
        self._queue = queue
        self._make_consumer = make_consumer
        self._answer: Offsets | None = None

    def ask(self, assignments: Collection[Assignment], before_ms: int) -> None:
        """Ask in a thread."""
        asking = threading.Thread(
            target=self._ask, args=(list(assignments), before_ms), name=f"stoker-ages-{self._queue}", daemon=True
        )
        asking.start()

    def pop(self) -> Offsets | None:
        """The answer, given once."""
        answer, self._answer = self._answer, None
        return answer

    def _ask(self, assignments: Collection[Assignment], before_ms: int) -> None:
        found: Offsets = {}
        try:
            found = self._find(assignments, before_ms)
        except KafkaException as failure:
            _LOGGER.debug(
                "how old the records of queue %r are could not be asked: %s", self._queue, failure,
                extra={log_keys.QUEUE: self._queue},
            )  # fmt: skip
        finally:
            self._answer = found

    def _find(self, assignments: Collection[Assignment], before_ms: int) -> Offsets:
        by_place = {(a.topic, a.partition): a for a in assignments}
        consumer = self._make_consumer()
        try:
            asked = [TopicPartition(*place, before_ms) for place in by_place]
            answers = consumer.offsets_for_times(asked, timeout=REQUEST_TIMEOUT_S)
        finally:
            consumer.close()
        return {
            by_place[at.topic, at.partition]: at.offset if at.offset >= 0 else ALL for at in answers if at.error is None
        }
