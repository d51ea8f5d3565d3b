"""`LeavingRecords`: the waiting records that are to leave the memory, and those that must stay in it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ..progress.assignment import Lane, Place
from ..records.record import Record
from .gate import Wait
from .waiting_records import WaitingRecords


@dataclass(frozen=True, slots=True)
class MemoryBound:
    """How many waiting records stay in memory, and how many bytes. Beyond either, records with a lane leave.

    Attributes:
        size_bytes: of payloads, keys and headers.
    """

    records: int = sys.maxsize
    size_bytes: int = sys.maxsize


NO_BOUND: Final = MemoryBound()


class LeavingRecords:
    """Only data, as `WaitingRecords` is: it is called with the lock of `Waiting` held.

    Two kinds of records leave: those that exceed the bound, and those that `note_due` has marked.
    """

    def __init__(self, waiting: WaitingRecords, bound: MemoryBound) -> None:
        self._waiting, self._bound = waiting, bound
        self._beyond: list[tuple[Record, Wait]] = []
        self._due: list[tuple[Record, Wait]] = []
        self._staying: dict[Place, tuple[Record, Wait]] = {}

    def __bool__(self) -> bool:
        return bool(self._beyond or self._due)

    @property
    def _is_beyond(self) -> bool:
        return self._waiting.count > self._bound.records or self._waiting.size_bytes > self._bound.size_bytes

    def note_added(self, record: Record, wait: Wait) -> None:
        """Mark a new record that exceeds the bound, so that it leaves."""
        if record.lane is not None and self._is_beyond:
            self._beyond.append((record, wait))

    def note_due(self, is_due: Callable[[Record], bool]) -> None:
        """Mark the due records to leave, and keep at hand those that must stay: see `AsideAtGates.note_leaving`."""
        self._staying, self._due = {}, []
        for record, wait in self._waiting.all().items():
            if not is_due(record):
                continue
            if record.lane is None or record in self._waiting.sent_back:
                self._staying[record.assignment, record.offset] = record, wait
            else:
                self._due.append((record, wait))

    def pop(self, may_leave: Callable[[Record], bool]) -> list[tuple[Record, Lane, Wait]]:
        """Take out the records that leave now, each with its lane and its wait; one that may not leave yet stays."""
        beyond, self._beyond = self._beyond if self._is_beyond else [], []
        due, self._due = self._due, []
        left: list[tuple[Record, Lane, Wait]] = []
        for record, wait in (*due, *beyond):
            if not self._waiting.still_has(record, wait):
                continue  # it was released before
            lane = record.lane
            if lane is None or not may_leave(record):
                self._beyond.append((record, wait))
            else:
                self._waiting.remove(record, wait.why)
                left.append((record, lane, wait))
        return left

    def keeps(self, place: Place) -> bool:
        """Whether a record stays, by the last `note_due`."""
        return place in self._staying

    def take_staying(self, place: Place) -> tuple[Record, Wait] | None:
        """Return a staying record with its wait, once; None where the record was released meanwhile."""
        staying = self._staying.pop(place, None)
        return staying if staying is not None and self._waiting.still_has(*staying) else None

    def clear(self) -> None:
        """Forget all."""
        self._beyond.clear()
        self._due.clear()
        self._staying.clear()
