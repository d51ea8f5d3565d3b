"""`Turns`: one record of a key is in hand at a time, across the lanes that the key has at several priorities.

A lane makes its first record ready whatever the others of its key do, so that an urgent record passes normal ones that
are ready. A runner takes the turn of a key with the record that it takes, and others of the key are held back until the
turn ends.
"""

from __future__ import annotations

from collections.abc import Collection
from threading import Lock
from typing import Final

from ..records.assignment import Assignment, Lane
from ..records.record import Record

MOST_FREED: Final = 10_000
"""Records that were held back and are not ready yet, as gates hold them; beyond, they go behind others."""


class Turns:
    """The turns of the keys of one queue, for all kinds of runners; safe to call from all threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._in_hand: dict[Lane, tuple[Record, int]] = {}
        self._held: dict[Lane, list[Record]] = {}
        self._freed: set[Record] = set()

    def take(self, record: Record) -> bool:
        """Take the turn of a record's key; False where another has it: the record is held back until that ends.

        A record may take its turn a second time before it is noted that it waited at a gate meanwhile: it has it then
        until it has given it back as often, or has ended.
        """
        turn = record.turn
        if turn is None:
            return True
        with self._lock:
            holder, times = self._in_hand.get(turn, (record, 0))
            if holder is not record:
                self._held.setdefault(turn, []).append(record)
                return False
            self._in_hand[turn] = record, times + 1
        return True

    def give_back(self, record: Record) -> list[Record]:
        """Give up the turn of a record that does not run now; gives those that were held back for it."""
        turn = record.turn
        with self._lock:
            holder, times = self._in_hand.get(turn, (None, 0)) if turn is not None else (None, 0)
            if turn is None or holder is not record:
                return []
            if times > 1:
                self._in_hand[turn] = record, times - 1
                return []
            return self._free(turn)

    def end(self, records: Collection[Record]) -> list[Record]:
        """End the turns of records that have run, or do not run here; gives those that were held back for them."""
        freed: list[Record] = []
        with self._lock:
            for record in records:
                turn = record.turn
                if turn is not None and self._in_hand.get(turn, (None, 0))[0] is record:
                    freed += self._free(turn)
        return freed

    def _free(self, turn: Lane) -> list[Record]:
        del self._in_hand[turn]
        freed = self._held.pop(turn, [])
        self._freed = {*self._freed, *freed} if len(self._freed) < MOST_FREED else set(freed)
        return freed

    def was_held(self, record: Record) -> bool:
        """Whether a record that becomes ready was held back before, so that it goes ahead; asked once."""
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
        """The record that has the turn of this one's key; None where nothing has."""
        turn = record.turn
        return None if turn is None else self._in_hand.get(turn, (None, 0))[0]

    def drop(self, assignments: Collection[Assignment]) -> list[Record]:
        """Take out the records of these that are held back."""
        dropped: list[Record] = []
        with self._lock:
            for turn, held in list(self._held.items()):
                gone = [record for record in held if record.assignment in assignments]
                if gone:
                    dropped += gone
                    self._held[turn] = [record for record in held if record.assignment not in assignments]
            self._freed = {record for record in self._freed if record.assignment not in assignments}
        return dropped
