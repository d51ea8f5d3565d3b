"""`KeyHolds`: one record of a key is in hand at a time, across the lanes that the key has at several priorities.

A lane makes its first record ready whatever the others of its key do, so that an urgent record passes normal ones that
are ready. A runner takes hold of a key with the record that it takes, and others of the key are held back until the
hold ends.
"""

from __future__ import annotations

from collections.abc import Collection
from threading import Lock
from typing import Final

from ..progress.assignment import Assignment, Lane
from ..records.record import Record

MOST_FREED: Final = 10_000
"""Records that were held back and are not ready yet, as gates hold them; beyond, they go behind others."""


class KeyHolds:
    """The holds of the keys of one queue, for all kinds of runners; safe to call from all threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._in_hand: dict[Lane, tuple[Record, int]] = {}
        self._held: dict[Lane, list[Record]] = {}
        self._freed: set[Record] = set()

    def acquire(self, record: Record) -> bool:
        """Take hold of a record's key; False where another has it: the record is held back until that ends.

        A record may take hold of its key a second time before it is noted that it waited at a gate meanwhile: it has it
        then until it has given that back as often, or has ended.
        """
        lane = record.normal_lane
        if lane is None:
            return True
        with self._lock:
            holder, times = self._in_hand.get(lane, (record, 0))
            if holder is not record:
                self._held.setdefault(lane, []).append(record)
                return False
            self._in_hand[lane] = record, times + 1
        return True

    def give_back(self, record: Record) -> list[Record]:
        """Give up the hold of a record that does not run now; returns those that were held back for it."""
        lane = record.normal_lane
        with self._lock:
            holder, times = self._in_hand.get(lane, (None, 0)) if lane is not None else (None, 0)
            if lane is None or holder is not record:
                return []
            if times > 1:
                self._in_hand[lane] = record, times - 1
                return []
            return self._free(lane)

    def end(self, records: Collection[Record]) -> list[Record]:
        """End the holds of records that have run, or do not run here; returns those that were held back for them."""
        freed: list[Record] = []
        with self._lock:
            for record in records:
                lane = record.normal_lane
                if lane is not None and self._in_hand.get(lane, (None, 0))[0] is record:
                    freed += self._free(lane)
        return freed

    def _free(self, lane: Lane) -> list[Record]:
        del self._in_hand[lane]
        freed = self._held.pop(lane, [])
        self._freed = {*self._freed, *freed} if len(self._freed) < MOST_FREED else set(freed)
        return freed

    def pop_freed(self, record: Record) -> bool:
        """Forget that a record which becomes ready was held back, and return whether it was: then it goes ahead."""
        if not self._freed:
            return False
        with self._lock:  # `drop` goes through them meanwhile, in another thread
            is_freed = record in self._freed
            self._freed.discard(record)
        return is_freed

    def held(self) -> list[Record]:
        """The records that are held back."""
        with self._lock:
            return [record for held in self._held.values() for record in held]

    def holder_of(self, record: Record) -> Record | None:
        """The record that holds this one's key; None where nothing has."""
        lane = record.normal_lane
        return None if lane is None else self._in_hand.get(lane, (None, 0))[0]

    def drop(self, assignments: Collection[Assignment]) -> list[Record]:
        """Take out the records of these that are held back."""
        dropped: list[Record] = []
        with self._lock:
            for lane, held in list(self._held.items()):
                gone = [record for record in held if record.assignment in assignments]
                if gone:
                    dropped += gone
                    self._held[lane] = [record for record in held if record.assignment not in assignments]
            self._freed = {record for record in self._freed if record.assignment not in assignments}
        return dropped
