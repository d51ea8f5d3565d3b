"""`PriorityFetching`: takes in jobs of the queue's priorities, as far as they find room."""

from __future__ import annotations

import time

from confluent_kafka import Message

from ..in_flight.memory_bounds import MemoryBounds
from ..kafka.side_readers import PriorityReaders
from ..priorities.ready import ReadyRecords


class PriorityFetching:
    """Owned by the poll thread; falsy where the queue declares no priorities."""

    def __init__(self, readers: PriorityReaders, ready: ReadyRecords | None, memory_bounds: MemoryBounds) -> None:
        self._readers = readers
        self._ready = ready
        self._memory_bounds = memory_bounds

    def __bool__(self) -> bool:
        return bool(self._readers)

    def fetch(self) -> list[Message]:
        """Return what the consumers have, as far as there is room for it."""
        return self._readers.fetch(time.monotonic(), self._room_for)

    def _room_for(self, priority: str) -> int:
        """How many more jobs of a priority may be fetched: none where enough of them are ready."""
        ready, part = self._ready, self._memory_bounds.priority_part
        left = 0 if ready is None else part - ready.count_of(priority)
        return min(left, self._memory_bounds.room_for(priority)) if left >= part / 2 else 0
