"""`WaitingRecords`: the records in memory that gates hold back, by their reasons and by their times."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Iterable
from itertools import count, takewhile
from typing import Final

from ..progress.assignment import Assignment
from ..records.record import Record
from .gate import Wait, Why

STALE_FACTOR: Final = 2
STALE_AT_LEAST: Final = 64
"""The heap of times is made anew when it has so many times the records that wait for a time, and so many more."""


class WaitingRecords:
    """Only data: it is called with the lock of `Waiting` held, but for the attributes, which any thread may read.

    Attributes:
        count: how many there are.
        size_bytes: what they count for against the bounds on memory.
        sent_back: those of them that a step has sent back.
    """

    def __init__(self) -> None:
        self._by_why: dict[Why, dict[Record, Wait]] = {}
        self._timed: list[tuple[float, int, Record, Wait]] = []  # also of records that were released, up to a bound
        self._timed_count = 0
        self._numbers = count()
        self.count = self.size_bytes = 0
        self.sent_back: set[Record] = set()

    def add(self, record: Record, wait: Wait) -> None:
        """Have a record wait."""
        self._by_why.setdefault(wait.why, {})[record] = wait
        self.count += 1
        self.size_bytes += record.size_bytes
        if wait.until_at_s is not None:
            self._timed_count += 1
            heapq.heappush(self._timed, (wait.until_at_s, next(self._numbers), record, wait))

    def remove(self, record: Record, why: Why) -> None:
        """Take out a record that waits for this reason."""
        of_reason = self._by_why[why]
        wait = of_reason.pop(record)
        self.sent_back.discard(record)
        self.count -= 1
        self.size_bytes -= record.size_bytes
        if not of_reason:
            del self._by_why[why]
        self._forget_times([wait])

    def still_has(self, record: Record, wait: Wait) -> bool:
        """Whether a record goes on with this wait; False once it was released, also where it waits again."""
        return self._by_why.get(wait.why, {}).get(record) is wait

    def waits_for_another(self, record: Record, why: Why) -> bool:
        """Whether a record waits, and for another reason than this."""
        return any(record in waiting and other != why for other, waiting in self._by_why.items())

    # ---- taking out

    def pop(self, whys: Iterable[Why]) -> list[Record]:
        """Take out the records that wait for these reasons."""
        waits = {record: wait for why in whys for record, wait in self._by_why.pop(why, {}).items()}
        self.count -= len(waits)
        self.size_bytes -= sum(record.size_bytes for record in waits)
        self.sent_back.difference_update(waits)
        self._forget_times(waits.values())
        return list(waits)

    def take_first(self, why: Why) -> Record | None:
        """Take out the first record that waits for this reason."""
        first = next(iter(self._by_why.get(why, ())), None)
        if first is not None:
            self.remove(first, why)
        return first

    def take_while(self, why: Why, fits: Callable[[Record], bool]) -> list[Record]:
        """Take out the first ones that wait for this reason, up to one that does not fit."""
        taken = list(takewhile(fits, self._by_why.get(why, ())))
        for record in taken:
            self.remove(record, why)
        return taken

    def take_all(self, is_meant: Callable[[Record], bool]) -> list[Record]:
        """Take out the records for which `is_meant` is true, whatever their reasons."""
        meant = [(record, why) for why, of_reason in self._by_why.items() for record in of_reason if is_meant(record)]
        for record, why in meant:
            self.remove(record, why)
        return [record for record, _ in meant]

    def take_due(self, now_s: float) -> list[Record]:
        """Take out the records whose time has come at the epoch time `now_s`."""
        due: list[Record] = []
        while self.has_due(now_s):
            _, _, record, wait = heapq.heappop(self._timed)
            if self.still_has(record, wait):
                self.remove(record, wait.why)
                due.append(record)
        return due

    def drop(self, assignments: Collection[Assignment]) -> list[Record]:
        """Take out the records of these assignments."""
        return self.take_all(lambda record: record.assignment in assignments)

    def clear(self) -> None:
        """Forget all."""
        self._by_why.clear()
        self._timed = []
        self.sent_back.clear()
        self.count = self.size_bytes = self._timed_count = 0

    def _forget_times(self, waits: Iterable[Wait]) -> None:
        """Count the records of these waits as gone; the heap keeps no more than a bound of them."""
        self._timed_count -= sum(wait.until_at_s is not None for wait in waits)
        if len(self._timed) > STALE_FACTOR * self._timed_count + STALE_AT_LEAST:
            timed = [entry for entry in self._timed if self.still_has(entry[2], entry[3])]
            heapq.heapify(timed)
            self._timed = timed  # another list, since any thread may read the former one

    # ---- looking

    @property
    def next_at_s(self) -> float | None:
        """The first epoch time in the heap, perhaps of a record that was released; None without any."""
        timed = self._timed
        return timed[0][0] if timed else None

    def has_due(self, now_s: float) -> bool:
        """Whether the first of these times has come."""
        timed = self._timed
        return bool(timed) and timed[0][0] <= now_s

    def all(self) -> dict[Record, Wait]:
        """All of them: until when, and why."""
        return {record: wait for of_reason in self._by_why.values() for record, wait in of_reason.items()}

    def whys(self) -> list[Why]:
        """All reasons for which they wait."""
        return list(self._by_why)

    def count_of(self, why: Why) -> int:
        """How many wait for this reason."""
        return len(self._by_why.get(why, ()))
