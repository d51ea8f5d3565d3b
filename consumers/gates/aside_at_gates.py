"""`AsideAtGates`: lanes that wait at a gate leave the memory, and come back when their wait is over."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable

from ..backlog.lane_backlog import hash_of
from ..progress.assignment import Place
from ..records.record import Record
from .gate import Why
from .waiting import Waiting


class AsideAtGates:
    """The way out of the memory for records that wait at gates, and back. Safe to call from all threads.

    Gates may hold back more records than a bound allows. The poll thread moves these aside, each with its whole lane
    (`set_aside`). This class keeps the lane's hash. When the reason is released, or the time has come, the poll thread
    takes the lane back (`take_released`). Then the first record of the lane asks the gates again.
    """

    def __init__(self, waiting: Waiting) -> None:
        self._lock, self._records, self._lanes = waiting.lock, waiting.records, waiting.lanes
        self._leaving = waiting.leaving
        self._waiting = waiting

    # ---- out

    def set_aside(self, may_leave: Callable[[Record], bool]) -> list[Record]:
        """Take out the records that are due to leave or exceed the bound, and keep the hashes of their lanes.

        A record stays for now where `may_leave` is false for it.
        """
        if not self._leaving:
            return []
        with self._lock:
            left = self._leaving.pop(may_leave)
            for _, lane, wait in left:
                self._lanes.add(wait.why, wait.until_at_s, hash_of(lane))
        return [record for record, _, _ in left]

    def note_leaving(self, is_due: Callable[[Record], bool]) -> None:
        """Mark the waiting records that are due: the next `set_aside` takes them out, whatever the bound.

        Two kinds of records stay in memory: those without a lane, and those that a step has sent back, since the step
        releases them from the memory. A copy may take their place: `exchange`.
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

    def release_lanes(self, lane_hashes: Iterable[int]) -> None:
        """Release lanes whose records are aside, although they did not wait at a gate."""
        with self._lock:
            self._lanes.add_released(array("q", lane_hashes))

    def release_some(self, why: Why, limit: int) -> int:
        """Release the first lanes that wait for this reason, and return how many; `take_released` returns them."""
        with self._lock:
            return self._lanes.release_some(why, limit)

    @property
    def has_released(self) -> bool:
        """Whether `take_released` has lanes to give."""
        return self._lanes.has_released

    def take_released(self, limit: int) -> list[int]:
        """Take the hashes of released lanes, the first ones first."""
        with self._lock:
            return self._lanes.pop(limit)

    def __len__(self) -> int:
        """How many lanes wait aside, or are to be taken back."""
        return len(self._lanes)

    def forget(self, is_gone: Callable[[int], bool]) -> None:
        """Forget the lanes for which `is_gone` is true: this worker has none of their records any more."""
        with self._lock:
            self._lanes.discard(is_gone)
