"""`BulkFill`: fills an index that has nothing yet, or is far behind, much faster than `TopicFollower` would.

It reads job topics and events side by side in the order of time, so that most jobs are enqueued and done in one batch,
and are written once. The file gets its indexes and the words of messages in the end. A kill at any point leaves a file
that marks it as under construction, with the offsets up to which all is in it: the next process goes on there.
"""

from __future__ import annotations

import gc
import logging
import math
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from confluent_kafka import Consumer, KafkaError, TopicPartition

from ...topology.declaration.topics import Role
from .database import STEPS_TO_FINISH, Partition, steps_to_finish
from .entries import TopicOrigin
from .index_writer import IndexWriter
from .topic_reading import UNREADABLE, Reading, lag_of

_LOGGER = logging.getLogger("stoker.status")

WRITE_AT: Final = 60_000
"""Entries of one transaction. They take some 50 MB."""
RECORDS: Final = 5_000
EVENTS: Final = 10
"""Each of which may be of two thousand jobs."""
GATHER_S: Final = 0.5
_GONE: Final = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION})
"""Errors of a partition whose end never comes. Should it be there after all, `TopicFollower` reads on."""
_LOOK_EACH: Final = 100_000
"""Steps of SQLite's machine between two looks whether to stop."""


def collect_rarely() -> None:
    """Let Python look for cyclic garbage rarely in this process.

    Entries have no cycles, and there are millions of them: to look through them takes a third of a rebuild.
    """
    gc.freeze()
    gc.set_threshold(200_000, 50, 100)


class _Side:
    """One of the two sorts of topics, and how far it is in time."""

    def __init__(self, consumer: Consumer, starts: Mapping[Partition, int], at_once: int) -> None:
        self.consumer, self.at_once = consumer, at_once
        self.places, self.unread = frozenset(starts), set(starts)
        self.at_ms: float = 0.0 if starts else math.inf
        consumer.assign([TopicPartition(*place, offset) for place, offset in starts.items()])

    def read(self, reading: Reading) -> int:
        """Read some of it, and how many records that were."""
        messages = self.consumer.consume(self.at_once, GATHER_S)
        for message in messages:
            place, error = (message.topic() or "", message.partition() or 0), message.error()
            if error is None:
                reading.take(place, message)
            elif error.code() == KafkaError._PARTITION_EOF:
                reading.note_end(place, message.offset())
                self.unread.discard(place)
            else:
                _LOGGER.warning(UNREADABLE, *place, error.str())
                if error.code() in _GONE:
                    self.unread.discard(place)
        if messages:
            self.at_ms = max(self.at_ms, messages[-1].timestamp()[1])
        if not self.unread:
            self.at_ms = math.inf
        return len(messages)


class BulkFill:
    """Reads to the ends of all topics, then finishes the file; all calls come from one thread.

    Args:
        make_consumer: of two of which it reads job topics and events.
        starts: where to begin in each partition of both.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        make_consumer: Callable[[], Consumer],
        origins: Mapping[str, TopicOrigin],
        starts: Mapping[Partition, int],
    ) -> None:
        self._connection = connection
        self._writer = IndexWriter(connection)
        self.reading = Reading(origins)
        events = {place: at for place, at in starts.items() if origins[place[0]].role is Role.EVENTS}
        records = {place: at for place, at in starts.items() if place not in events}
        self._sides = [_Side(make_consumer(), records, RECORDS), _Side(make_consumer(), events, EVENTS)]
        self._steps: Iterator[str] | None = None
        self._taken = 0

    @property
    def stage(self) -> str:
        """The stage that it is in, in words."""
        return f"adding indexes ({self._taken} of {STEPS_TO_FINISH})" if self._steps else "building"

    def turn(self, is_stopping: Callable[[], bool]) -> bool:
        """Read and write some, or take a step to finish the file; False once it is finished.

        Raises:
            sqlite3.OperationalError: a step was interrupted by `is_stopping`.
        """
        if self._steps is not None:
            self._taken += 1
            self._connection.set_progress_handler(is_stopping, _LOOK_EACH)
            return next(self._steps, None) is not None
        behind = min(self._sides, key=lambda side: side.at_ms)
        if behind.at_ms < math.inf:
            behind.read(self.reading)
        is_read = all(side.at_ms == math.inf for side in self._sides)
        if is_read or len(self.reading) >= WRITE_AT:
            self.reading.write(self._writer)
        if is_read:
            self._leave()
            self._steps = steps_to_finish(self._connection)
            next(self._steps)
        return True

    def behind(self, known: Mapping[Partition, int]) -> int:
        """How many records and events are still to be read."""
        return sum(lag_of(side.consumer, side.places, known) for side in self._sides)

    def close(self) -> None:
        """Write what was read, and leave the brokers."""
        self._connection.set_progress_handler(None, 0)
        self.reading.write(self._writer)
        self._leave()

    def _leave(self) -> None:
        for side in self._sides:
            side.consumer.close()
        self._sides = []
