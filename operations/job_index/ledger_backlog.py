"""`LedgerBacklog`: what an index has read of the ledgers and not yet taken over.

The ledger is read with a delay: by then the events of nearly all jobs have come, and what it has beyond that is taken
over.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from confluent_kafka import Consumer, Message, TopicPartition

from .database import Partition
from .index_writer import IndexWriter
from .ledger_names import ended_by
from .states import State

RECONCILE_AFTER_S: Final = 15.0
"""How far behind the clock the ledger is read: events are given up by their workers after 30 s at most, and rarely."""
RECONCILE_AT_ONCE: Final = 5_000
MOST_NAMES: Final = 400_000
"""Names that wait in memory; then the partitions are paused."""


@dataclass(slots=True)
class _LedgerNames:
    place: Partition
    offset: int
    at_ms: int
    ended: list[tuple[str, State]] = field(default_factory=list)


class LedgerBacklog:
    """The ledgers' partitions of one reader, paused until `resume`, and the names of them that wait.

    Attributes:
        topics: the ledgers.
        places: their partitions that the reader has.
        is_done: whether they were read to their ends, and no name is due.
    """

    def __init__(self, consumer: Consumer, topics: Iterable[str]) -> None:
        self._consumer = consumer
        self.topics = frozenset(topics)
        self.places: set[Partition] = set()
        self.is_done = False
        self._unread: set[Partition] = set()
        self._waiting: deque[_LedgerNames] = deque()
        self._names = 0
        self._is_paused = True

    def add(self, places: Iterable[Partition]) -> None:
        """Take on partitions that the reader has just got."""
        new = set(places)
        if new:
            self.places |= new
            self._unread |= new
            self._is_paused = True
            self._consumer.pause([TopicPartition(*place) for place in new])

    def note_end(self, place: Partition) -> None:
        """Note that a partition was read to its end."""
        self._unread.discard(place)

    def take(self, place: Partition, message: Message) -> None:
        """Keep the names of a record until they are due."""
        names, now_ms = list(ended_by(message)), int(time.time() * 1e3)
        at_ms = min(message.timestamp()[1], now_ms)  # a worker's clock may be ahead; all others wait behind it
        self._waiting.append(_LedgerNames(place, (message.offset() or 0) + 1, at_ms, names))
        self._names += len(names)
        if self._names > MOST_NAMES and not self._is_paused:
            self._consumer.pause([TopicPartition(*known) for known in self.places])
            self._is_paused = True

    def resume(self) -> None:
        """Read on, unless more than half as many names wait as may; some always do where jobs end all the time."""
        if self._is_paused and self._names <= MOST_NAMES // 2:
            self._consumer.resume([TopicPartition(*place) for place in self.places])
            self._is_paused = False

    def reconcile_for(self, seconds: float, writer: IndexWriter) -> int:
        """Reconcile an index with what the ledgers have had for a while, for so long at most.

        Returns:
            How many jobs only the ledgers had as ended.
        """
        give_up_at_s, due_ms = time.monotonic() + seconds, (time.time() - RECONCILE_AFTER_S) * 1e3
        found = 0
        while is_due := self._is_due(due_ms):
            found += self._reconcile(due_ms, writer)
            if time.monotonic() >= give_up_at_s:
                break
        self.is_done = not self._unread and not is_due
        return found

    def _is_due(self, due_ms: float) -> bool:
        return bool(self._waiting) and self._waiting[0].at_ms < due_ms

    def _reconcile(self, due_ms: float, writer: IndexWriter) -> int:
        ended: dict[str, tuple[State, int]] = {}
        offsets: dict[Partition, int] = {}
        while self._is_due(due_ms) and len(ended) < RECONCILE_AT_ONCE:
            names = self._waiting.popleft()
            self._names -= len(names.ended)
            ended.update((name, (state, names.at_ms)) for name, state in names.ended)
            offsets[names.place] = names.offset
        return writer.reconcile(ended, offsets)
