"""`PriorityFetching`: takes in jobs of the queue's priorities, as far as they find room."""

from __future__ import annotations

import time

from confluent_kafka import Message

from ..in_flight.memory_bounds import MemoryBounds
from ..kafka.side_readers import PriorityReaders


class PriorityFetching:
    """Owned by the poll thread; falsy where the queue declares no priorities."""

    def __init__(self, readers: PriorityReaders, memory_bounds: MemoryBounds) -> None:
        self._readers = readers
        self._memory_bounds = memory_bounds

    def __bool__(self) -> bool:
        return bool(self._readers)

    def fetch(self) -> list[Message]:
        """Return what the consumers have, as far as there is room for it."""
        return self._readers.fetch(time.monotonic(), self._memory_bounds.room_for)
