"""`WaitingView`: a read-only view of the records and lanes that wait at the gates of one queue, with their reasons."""

from __future__ import annotations

from ..records.record import Record
from .gate import Wait, Why
from .waiting import Waiting


class WaitingView:
    """Looks at what waits. Safe to call from all threads; all but the two counts take the lock for a moment."""

    def __init__(self, waiting: Waiting) -> None:
        self._lock, self._records, self._lanes = waiting.lock, waiting.records, waiting.lanes

    @property
    def count(self) -> int:
        """How many records wait in memory."""
        return self._records.count

    @property
    def count_aside(self) -> int:
        """How many lanes wait aside, or are to be taken back."""
        return len(self._lanes)

    def whys(self) -> list[Why]:
        """All reasons for which records wait in memory."""
        with self._lock:
            return self._records.whys()

    def waiting(self) -> dict[Record, Wait]:
        """All records that wait in memory: until when, and why."""
        with self._lock:
            return self._records.all()

    def counts(self) -> dict[Why, int]:
        """{reason: how many records wait for it}; of a lane aside, its first one."""
        with self._lock:
            counts = self._lanes.counts()
            for why in self._records.whys():
                counts[why] = counts.get(why, 0) + self._records.count_of(why)
        return counts

    def count_of(self, kind: type[Why]) -> int:
        """How many records wait in memory for reasons of one kind."""
        with self._lock:
            return sum(self._records.count_of(why) for why in self._records.whys() if isinstance(why, kind))

    def count_waiting(self, why: Why) -> int:
        """How many records, and lanes aside, wait for this reason."""
        with self._lock:
            return self._records.count_of(why) + self._lanes.count_of(why)

    def why_of(self, lane_hash: int) -> Wait | None:
        """Why a lane waits aside; None where it does not. It looks at all of them."""
        with self._lock:
            found = self._lanes.why_of(lane_hash)
        return None if found is None else Wait(until_at_s=found[1], why=found[0])
