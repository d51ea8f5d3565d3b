"""`AsideAtGates`: what waits at a gate leaves the memory with its lane, which comes back when the wait is over."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable

from ..backlog.lane_backlog import hash_of
from ..records.assignment import Place
from ..records.record import Record
from .gate import Why
from .waiting import Waiting


class AsideAtGates:
    """The way out of the memory for records that wait at gates, and back. Safe to call from all threads.

    The poll thread moves what a gate holds back beyond a bound aside, each record with its whole lane (`set_aside`);
    here remains the lane's hash. When its reason is released, or its time comes, the poll thread takes the lane back
    (`take_opened`), and its first record asks the gates again.
    """

    def __init__(self, waiting: Waiting) -> None:
        self._lock, self._records, self._lanes = waiting.lock, waiting.records, waiting.lanes
        self._leaving = waiting.leaving
        self._waiting = waiting

    # ---- out

    def set_aside(self, may_leave: Callable[[Record], bool]) -> list[Record]:
        """Take out what is due to leave, or waits beyond the bound, and keep the hash of its lane.

        What may not leave yet stays.
        """
        if not self._leaving:
            return []
        with self._lock:
            left = self._leaving.take(may_leave)
            for _, lane, wait in left:
                self._lanes.add(wait.why, wait.until_at_s, hash_of(lane))
        return [record for record, _, _ in left]

    def note_leaving(self, is_due: Callable[[Record], bool]) -> None:
        """Have those of the records that gates hold back leave with the next `set_aside`, whatever the bound.

        What a step has sent back stays: that step, or a thread of its own, releases it from the memory. So does what
        has no lane. A copy may take the place of these: `exchange`.
        """
        with self._lock:
            self._leaving.note_due(is_due)

    def keeps(self, place: Place) -> bool:
        """Whether a record stays in memory, by the last `note_leaving`."""
        return self._leaving.keeps(place)

    def exchange(self, place: Place, copy: Record, take_over: Callable[[Record], None]) -> Record | None:
        """Let a copy wait in the place of a record that stays in memory; None where that has gone on.

        Args:
            take_over: called with the record that leaves, before anybody can release the copy.
        """
        with self._lock:
            staying = self._leaving.take_staying(place)
            if staying is None:
                return None
            record, wait = staying
            was_sent_back = record in self._records.sent_back
            if not self._waiting.add(copy, wait):
                return None
            if was_sent_back:
                self._records.sent_back.add(copy)
            self._records.remove(record, wait.why)
            take_over(record)
        return record

    # ---- back

    def take_back(self, lane_hashes: Iterable[int]) -> None:
        """Have lanes taken back whose records are aside, as if they had waited here."""
        with self._lock:
            self._lanes.add_opened(array("q", lane_hashes))

    def open_some(self, why: Why, limit: int) -> int:
        """Have the first of the lanes taken back that wait for this reason; returns how many."""
        with self._lock:
            return self._lanes.open_some(why, limit)

    @property
    def has_opened(self) -> bool:
        """Whether lanes that waited aside are to be taken back."""
        return self._lanes.has_opened

    def take_opened(self, limit: int) -> list[int]:
        """Take the hashes of lanes that waited aside and wait no more, the first ones first."""
        with self._lock:
            return self._lanes.take(limit)

    def __len__(self) -> int:
        """How many lanes wait aside, or are to be taken back."""
        return len(self._lanes)

    def forget(self, is_gone: Callable[[int], bool]) -> None:
        """Forget the lanes of which nothing is ours any more."""
        with self._lock:
            self._lanes.discard(is_gone)
