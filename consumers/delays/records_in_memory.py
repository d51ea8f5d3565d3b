"""`RecordsInMemory`: the packed records of a calendar that are due next, by ticks of 1.024 s.

ticks       {tick: packed records} of those that have not come
come        the records of ticks that have come, in one list, the next to be due at its end
come since  a heap of those that were kept when their tick had come
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Iterator
from operator import itemgetter
from typing import Final

from ..progress.assignment import Assignment, Lane, Place
from ..records.record import Record
from .known_offsets import OFFSET_BITS, OFFSET_MASK, TICK_BITS
from .packed_records import unpacked_record

EVICTED_TO: Final = 0.75
"""Where memory has become too small, so much of it is left: each record that is packed in vain costs time."""
ENTRY_BYTES: Final = 165
"""The memory of a packed record beside its bytes."""
USUAL_BYTES: Final = 500
"""The assumed size of a record before any was seen."""
LAST_SPARE: Final = 1_000
"""Ticks that are gone and are still in the heap that finds the last one; else each second would be kept for ever."""
Evict = Callable[[Assignment, int, int, int], None]
"""Takes what is forgotten for want of room: assignment, offset, its wake time and the present one in epoch ms."""
_Entry = tuple[int, int, bytes]
"""Wake time in epoch milliseconds and offset, in one number; assignment number, the packed record."""
_WAKES: Final = itemgetter(0)


class RecordsInMemory:
    """Packed records within a budget; owned by the poll thread. Where they exceed it, the last ticks are evicted.

    Attributes:
        count: how many there are.
        used_bytes: what they take.
        now_ms: the epoch time that was given last. Ticks that have come stay so where a clock is set back.
    """

    def __init__(self, budget_bytes: int, evict: Evict) -> None:
        self._budget_bytes = budget_bytes
        self._evict = evict
        self._assignments: dict[int, Assignment] = {}
        self._ticks: dict[int, list[_Entry]] = {}
        self._first: list[int] = []
        self._last: list[int] = []
        self._come: list[_Entry] = []
        self._come_since: list[_Entry] = []
        self._come_tick = 0
        self.count = self.used_bytes = self.now_ms = 0

    # ---- what is kept

    def keep(self, wake_ms: int, offset: int, assignment: Assignment, packed: bytes) -> None:
        """Keep a record until this epoch time; evict those of later ticks, if it takes the memory of these."""
        tick = wake_ms >> TICK_BITS
        entry = wake_ms << OFFSET_BITS | offset, assignment.number, packed
        self._assignments[assignment.number] = assignment
        self.count += 1
        self.used_bytes += len(packed) + ENTRY_BYTES
        if tick <= self._come_tick:
            heapq.heappush(self._come_since, entry)
        else:
            self._put_to_tick(tick, entry)
        if self.used_bytes > self._budget_bytes:
            self._evict_beyond(tick)

    def _put_to_tick(self, tick: int, entry: _Entry) -> None:
        entries = self._ticks.get(tick)
        if entries is None:
            entries = self._ticks[tick] = []
            heapq.heappush(self._first, tick)
            heapq.heappush(self._last, -tick)
        entries.append(entry)

    def _evict_beyond(self, tick: int) -> None:
        """Evict the records of later ticks, the last ones first, until there is some room."""
        enough_bytes = self._budget_bytes * EVICTED_TO
        while self.used_bytes > enough_bytes and (last := self._last_tick()) > tick:
            for wakes, number, packed in self._ticks.pop(last):
                self._let_go(packed)
                self._evict(self._assignments[number], wakes & OFFSET_MASK, wakes >> OFFSET_BITS, self.now_ms)

    def is_full_before(self, tick: int) -> bool:
        """Whether the budget is used up, and nothing is due after this tick that could be evicted."""
        return self.used_bytes >= self._budget_bytes and tick >= self._last_tick()

    def _last_tick(self) -> int:
        """The last tick of those that have not come; 0 where there is none."""
        while self._last and -self._last[0] not in self._ticks:
            heapq.heappop(self._last)
        return -self._last[0] if self._last else 0

    @property
    def usual_bytes(self) -> float:
        """The size of a record on average."""
        return self.used_bytes / self.count if self.count else USUAL_BYTES

    # ---- what is due

    def pop_due(self, now_ms: int, limit: int) -> list[Record]:
        """Take out at most `limit` records whose time has come, the earliest first."""
        self.now_ms = now_ms
        self._come_tick = max(self._come_tick, now_ms >> TICK_BITS)
        if self._first and self._first[0] <= self._come_tick:
            self._sort_come()
        due: list[Record] = []
        assignments, end = self._assignments, (now_ms + 1) << OFFSET_BITS
        while self.count and len(due) < limit and (entry := self._pop_before(end)) is not None:
            _, number, packed = entry
            self._let_go(packed)
            due.append(unpacked_record(packed, assignments[number]))
        return due

    def _sort_come(self) -> None:
        """Sort in the ticks that have come."""
        added: list[_Entry] = []
        while self._first and self._first[0] <= self._come_tick:
            added += self._ticks.pop(heapq.heappop(self._first), ())
        if len(self._last) > 2 * len(self._ticks) + LAST_SPARE:
            self._last = [-tick for tick in self._ticks]
            heapq.heapify(self._last)
        if added:
            added += reversed(self._come)
            added.sort(key=_WAKES)
            added.reverse()
            self._come = added

    def _pop_before(self, end: int) -> _Entry | None:
        come, since = self._come, self._come_since
        if since and (not come or since[0] < come[-1]):
            return heapq.heappop(since) if since[0][0] < end else None
        return come.pop() if come and come[-1][0] < end else None

    @property
    def next_due_at_s(self) -> float | None:
        """The epoch time at which `pop_due` is to be called again, if nothing comes meanwhile."""
        if self._come or self._come_since:
            soonest = min((*self._come[-1:], *self._come_since[:1]), key=_WAKES)
            return (soonest[0] >> OFFSET_BITS) / 1_000
        while self._first and self._first[0] not in self._ticks:
            heapq.heappop(self._first)
        return (self._first[0] << TICK_BITS) / 1_000 if self._first else None

    # ---- what is let go before its time

    @property
    def ticks(self) -> list[int]:
        """The ticks of the records that have not come."""
        return list(self._ticks)

    def take_out(self, tick: int, is_wanted: Callable[[Record], bool], most: int) -> tuple[list[Record], int]:
        """Take records of a tick out that are wanted before they are due; and how many there were."""
        entries = self._ticks.pop(tick, [])
        taken: list[Record] = []
        left: list[_Entry] = []
        for entry in entries:
            record = unpacked_record(entry[2], self._assignments[entry[1]])
            if len(taken) < most and is_wanted(record):
                taken.append(record)
                self._let_go(entry[2])
            else:
                left.append(entry)
        if left:
            self._ticks[tick] = left
        return taken, len(entries)

    def forget(self, places: Collection[Place]) -> set[Place]:
        """Forget the records of these places; returns those that were here."""
        found: set[Place] = set()
        offsets = {offset for _, offset in places}
        for entries in self._lists():
            if len(found) == len(places):
                break
            at_place = [at for at, entry in enumerate(entries) if entry[0] & OFFSET_MASK in offsets]
            hits = {at: place for at in at_place if (place := self._place_of(entries[at])) in places}
            if hits:
                found.update(hits.values())
                for at in hits:
                    self._let_go(entries[at][2])
                entries[:] = [entry for at, entry in enumerate(entries) if at not in hits]
        heapq.heapify(self._come_since)
        return found

    def drop(self, assignments: Collection[Assignment]) -> None:
        """Forget the records of partitions that are no longer ours."""
        numbers = {assignment.number for assignment in assignments}
        for entries in self._lists():
            for _, number, packed in entries:
                if number in numbers:
                    self._let_go(packed)
            entries[:] = [entry for entry in entries if entry[1] not in numbers]
        heapq.heapify(self._come_since)
        self._ticks = {tick: entries for tick, entries in self._ticks.items() if entries}
        for number in numbers:
            self._assignments.pop(number, None)

    def _let_go(self, packed: bytes) -> None:
        self.count -= 1
        self.used_bytes -= len(packed) + ENTRY_BYTES

    # ---- all of them

    def naming(self, job_ids: Collection[bytes]) -> list[Place]:
        """The places of records that have one of these ids somewhere in their bytes."""
        return [self._place_of(entry) for entry in self._entries() for job_id in job_ids if job_id in entry[2]]

    def find(self, lane: Lane) -> tuple[Record, float] | None:
        """A record of a lane, and the epoch time at which it wakes."""
        key = lane if isinstance(lane, bytes) else lane.encode()
        for wakes, number, packed in self._entries():
            if key in packed and (record := unpacked_record(packed, self._assignments[number])).lane == lane:
                return record, (wakes >> OFFSET_BITS) / 1_000
        return None

    def __iter__(self) -> Iterator[Place]:
        """The places of all, in no order."""
        return map(self._place_of, self._entries())

    def _place_of(self, entry: _Entry) -> Place:
        return self._assignments[entry[1]], entry[0] & OFFSET_MASK

    def _entries(self) -> Iterator[_Entry]:
        for entries in self._lists():
            yield from entries

    def _lists(self) -> Iterator[list[_Entry]]:
        yield self._come
        yield self._come_since
        yield from self._ticks.values()
