"""`Calendar`: records that wait until they are due. The next ones are in memory, all others are known by their offsets.

A record in memory is packed, which takes a third of what the client's message takes. When these have used up their
budget, those that are due last are forgotten but for their offsets, 8 bytes each. What is due next is read again before
its time: as soon as half of the budget is free, the calendar wants the next offsets.

    in memory   {second: packed records}; those of seconds that have come are in one list, the next to be due at its
                end, and what comes later than its second in a heap
    by offset   {second: {assignment: offsets}}, and {hour: ...} for what is due later than in an hour or so
    coming      wanted, and being read again

No record in memory is due in a later second than one that is known by its offset.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from operator import itemgetter
from typing import Final

from confluent_kafka import Message

from ...topology.wire.headers import HeaderList
from ..records.assignment import Assignment, Lane, Place
from ..records.record import Record
from ..standing_orders.reschedules import NO_RESCHEDULES, RescheduledJob, Reschedules
from .days import OFFSET_BITS, OFFSET_MASK, SECOND_BITS, KnownOffsets
from .due_times import pairs_of, wake_at_ms
from .packed_records import packed_record, unpacked_record

BUDGET_BYTES: Final = 24 * 1024 * 1024
"""Packed records in memory: some 80,000 of 100 bytes each, three quarters of a minute at 1,700 jobs a second."""
EVICTED_TO: Final = 0.75
"""Where memory has become too small, so much of it is left: each record that is packed in vain costs time."""
ENTRY_BYTES: Final = 165
"""The memory of a packed record beside its bytes."""
USUAL_BYTES: Final = 500
"""The assumed size of a record before any was seen."""
BEHIND_SECONDS: Final = 20
"""A sweep over a million records takes some ten seconds where runners have much to do."""
SOON_COMING: Final = 60_000
"""Records due within a sweep that are being read again, at most: 6 MB of offsets."""
Wanted = dict[Assignment, list[int]]
_Entry = tuple[int, int, bytes]
"""Wake time in epoch milliseconds and offset, in one number; assignment number, the packed record."""
_WAKES: Final = itemgetter(0)


class Calendar:
    """The delayed records of one queue; owned by the poll thread. It reads nothing: see `take_wanted`.

    `in_memory` counts those in memory, `coming` those that are being read again. `rescheduled` has the jobs that
    have another time by now, for `look_again`.
    """

    def __init__(
        self, longest_s: float, budget_bytes: int = BUDGET_BYTES, reschedules: Reschedules = NO_RESCHEDULES
    ) -> None:
        """Begin without records.

        Args:
            longest_s: how long a record may wait on its topic.
            reschedules: give records other times than their own.
        """
        self._longest_s = longest_s
        self._reschedules = reschedules
        self.rescheduled = deque[RescheduledJob]() if reschedules is NO_RESCHEDULES else reschedules.watch()
        self._budget_bytes = budget_bytes
        self._assignments: dict[int, Assignment] = {}
        self._come: list[_Entry] = []
        self._come_since: list[_Entry] = []
        self._seconds: dict[int, list[_Entry]] = {}
        self._first: list[int] = []
        self._last: list[int] = []
        self._used_bytes = 0
        self.in_memory = 0
        self._known = KnownOffsets()
        self._coming: dict[Assignment, set[int]] = {}
        self._forward: set[tuple[Assignment, int]] = set()
        self._again: Wanted = {}
        self.coming = 0
        self._first_coming = 0
        self._now_ms = 0

    def __len__(self) -> int:
        return self.in_memory + len(self._known) + self.coming

    # ---- what comes

    def add(self, message: Message, assignment: Assignment) -> None:
        """Take a record as it was fetched."""
        pairs, timestamp_ms = pairs_of(message), message.timestamp()[1]
        offset: int = message.offset()  # type: ignore[assignment]  # a consumed one has it
        wake_ms = self._wake_ms(pairs, timestamp_ms, assignment, offset)
        second = wake_ms >> SECOND_BITS
        if self._is_beyond_memory(second):
            self._known.note(assignment, offset, wake_ms, self._now_ms)
        else:
            self._keep(wake_ms, offset, assignment, packed_record(message, offset, timestamp_ms, pairs))

    def take_reread(self, assignment: Assignment, message: Message) -> bool:
        """Take a record that was read again; False where it is none of those that the calendar has wanted."""
        offset: int = message.offset()  # type: ignore[assignment]  # a consumed one has it
        if not self._end_coming(assignment, offset):
            return False
        pairs, timestamp_ms = pairs_of(message), message.timestamp()[1]
        wake_ms = self._wake_ms(pairs, timestamp_ms, assignment, offset)
        second, first = wake_ms >> SECOND_BITS, self._known.first
        if (first is not None and second > first) or self._is_last_of_full_memory(second):
            self._known.note(assignment, offset, wake_ms, self._now_ms)
        else:
            self._forward.discard((assignment, offset))  # not above: there it is read once more
            self._keep(wake_ms, offset, assignment, packed_record(message, offset, timestamp_ms, pairs))
        return True

    def _wake_ms(self, pairs: HeaderList | None, timestamp_ms: int, assignment: Assignment, offset: int) -> int:
        """When to look at a record: at its own time, or sooner where its job was rescheduled to that."""
        if self._forward and (assignment, offset) in self._forward:
            return self._now_ms
        own_ms = wake_at_ms(pairs, timestamp_ms, assignment.source, self._longest_s)
        if not self._reschedules.stands:
            return own_ms
        due_at_s = self._reschedules.due_at_s_of(pairs, (assignment.topic, assignment.partition, offset))
        return own_ms if due_at_s is None else min(own_ms, math.ceil(due_at_s * 1_000))

    def look_for(self, job_ids: Collection[bytes]) -> None:
        """Have the records of jobs read again at once, of those in memory; perhaps also ones that only name them."""
        named = [entry for entry in self._entries() for job_id in job_ids if job_id in entry[2]]
        self.look_again(list(map(self._place_of, named)))

    def look_again(self, places: Collection[Place]) -> set[Place]:
        """Have records read again at once, as their times may be others by now; gives the places that wait here.

        It passes once over what waits here, however many places there are, and ends as soon as it has found all.
        """
        found = {place for place in places if place[1] in self._coming.get(place[0], ())}
        taken = self._forget(set(places) - found)
        for assignment, offsets in _by_assignment(set(places) - found - taken).items():
            taken |= {(assignment, offset) for offset in self._known.remove_all(assignment, offsets)}
        if taken:
            self._want_again(taken)
        return found | taken

    def bring_forward(self, places: Collection[Place]) -> None:
        """Have records read again and let them go at once, whatever their times are."""
        self._forward |= self.look_again(places)

    def _want_again(self, places: Collection[Place]) -> None:
        second = self._now_ms >> SECOND_BITS
        self._first_coming = min(self._first_coming, second) if self.coming else second
        for assignment, offsets in _by_assignment(places).items():
            self._again.setdefault(assignment, []).extend(sorted(offsets))
            self._coming.setdefault(assignment, set()).update(offsets)
        self.coming += len(places)

    def _forget(self, places: Collection[Place]) -> set[Place]:
        """Forget the records of these places that are in memory; gives their places."""
        found: set[Place] = set()
        offsets = {offset for _, offset in places}
        for entries in (self._come, self._come_since, *self._seconds.values()):
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

    def _place_of(self, entry: _Entry) -> Place:
        return self._assignments[entry[1]], entry[0] & OFFSET_MASK

    def note_gone(self, assignment: Assignment, offset: int) -> bool:
        """Note that a record cannot be read again, since the brokers have deleted it; False where it was not wanted."""
        return self._end_coming(assignment, offset)

    def _end_coming(self, assignment: Assignment, offset: int) -> bool:
        offsets = self._coming.get(assignment, ())
        if offset not in offsets:
            return False
        self.coming -= 1
        self._coming[assignment].remove(offset)
        if not self._coming[assignment]:
            del self._coming[assignment]
        return True

    def _is_beyond_memory(self, second: int) -> bool:
        """Whether a record of a second is to be known by its offset alone."""
        first = self._known.first
        if first is not None and second >= first:
            return True
        return self._is_last_of_full_memory(second)

    def _is_last_of_full_memory(self, second: int) -> bool:
        return self._used_bytes >= self._budget_bytes and second >= self._last_in_memory()

    def _last_in_memory(self) -> int:
        """The last second of what is in memory, of those that have not come; 0 where there is none."""
        while self._last and -self._last[0] not in self._seconds:
            heapq.heappop(self._last)
        return -self._last[0] if self._last else 0

    # ---- in memory

    def _keep(self, wake_ms: int, offset: int, assignment: Assignment, packed: bytes) -> None:
        second = wake_ms >> SECOND_BITS
        entry = wake_ms << OFFSET_BITS | offset, assignment.number, packed
        self._assignments[assignment.number] = assignment
        self.in_memory += 1
        self._used_bytes += len(packed) + ENTRY_BYTES
        if second <= self._now_ms >> SECOND_BITS:
            heapq.heappush(self._come_since, entry)
        else:
            self._put_to_second(second, entry)
        if self._used_bytes > self._budget_bytes:
            self._evict_beyond(second)

    def _put_to_second(self, second: int, entry: _Entry) -> None:
        entries = self._seconds.get(second)
        if entries is None:
            entries = self._seconds[second] = []
            heapq.heappush(self._first, second)
            heapq.heappush(self._last, -second)
        entries.append(entry)

    def _evict_beyond(self, second: int) -> None:
        """Forget the records of later seconds but for their offsets, the last ones first, until there is some room."""
        enough_bytes = self._budget_bytes * EVICTED_TO
        while self._used_bytes > enough_bytes and (last := self._last_in_memory()) > second:
            for wakes, number, packed in self._seconds.pop(last):
                self._let_go(packed)
                place = self._assignments[number], wakes & OFFSET_MASK
                self._known.note(*place, wakes >> OFFSET_BITS, self._now_ms)

    def _let_go(self, packed: bytes) -> None:
        self.in_memory -= 1
        self._used_bytes -= len(packed) + ENTRY_BYTES

    def pop_due(self, now_s: float, limit: int) -> list[Record]:
        """Take out at most `limit` records whose time has come, of those in memory, the earliest first."""
        self._advance(int(now_s * 1_000))
        due: list[Record] = []
        assignments, end = self._assignments, (self._now_ms + 1) << OFFSET_BITS
        while len(due) < limit and (entry := self._pop_before(end)) is not None:
            _, number, packed = entry
            self._let_go(packed)
            due.append(unpacked_record(packed, assignments[number]))
        return due

    def _pop_before(self, end: int) -> _Entry | None:
        come, since = self._come, self._come_since
        if since and (not come or since[0] < come[-1]):
            return heapq.heappop(since) if since[0][0] < end else None
        return come.pop() if come and come[-1][0] < end else None

    @property
    def seconds(self) -> list[int]:
        """The seconds of the records in memory that have not come."""
        return list(self._seconds)

    def take_out(self, second: int, is_wanted: Callable[[Record], bool], most: int) -> tuple[list[Record], int]:
        """Take records of a second out that are in memory and wanted before they are due; and how many there were."""
        entries = self._seconds.pop(second, [])
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
            self._seconds[second] = left
        return taken, len(entries)

    def _advance(self, now_ms: int) -> None:
        """Sort in the seconds that have come."""
        self._now_ms = max(self._now_ms, now_ms)
        added: list[_Entry] = []
        while self._first and self._first[0] <= self._now_ms >> SECOND_BITS:
            added += self._seconds.pop(heapq.heappop(self._first), ())
        if added:
            added += reversed(self._come)
            added.sort(key=_WAKES)
            added.reverse()
            self._come = added

    @property
    def next_due_at_s(self) -> float | None:
        """The epoch time at which `pop_due` is to be called again, if nothing comes meanwhile."""
        if self._come or self._come_since:
            soonest = min((*self._come[-1:], *self._come_since[:1]), key=_WAKES)
            return (soonest[0] >> OFFSET_BITS) / 1_000
        while self._first and self._first[0] not in self._seconds:
            heapq.heappop(self._first)
        return (self._first[0] << SECOND_BITS) / 1_000 if self._first else None

    @property
    def next_wake_at_s(self) -> float | None:
        """The epoch time, to a second, at which the next record of all that wait here is to be looked at."""
        by_offset = self._known.first
        seconds = [second for second in (by_offset, self._first_coming if self.coming else None) if second is not None]
        known = [second * (1 << SECOND_BITS) / 1_000 for second in seconds]
        in_memory = self.next_due_at_s
        return min(known if in_memory is None else [*known, in_memory], default=None)

    # ---- by offset

    def take_wanted(self) -> Wanted:
        """The records that are to be read again by now: {assignment: offsets}; each comes to `take_reread`, or is gone.

        As long as half of the budget is used, nothing is wanted. A second that does not fit is taken in parts.
        """
        wanted, self._again = self._again, {}
        while self._known and (second := self._known.open()) is not None and (room := self._room(second)) > 0:
            self._first_coming = min(self._first_coming, second) if self.coming else second
            for assignment, offsets in self._known.take(second, room):
                self.coming += len(offsets)
                self._coming.setdefault(assignment, set()).update(offsets)
                wanted.setdefault(assignment, []).extend(offsets)
        return wanted

    def known_offsets(self) -> Wanted:
        """The records that are known by their offsets alone: {assignment: offsets in the order of the log}."""
        return self._known.by_assignment()

    def take_known(self, records: Collection[Record]) -> list[Record]:
        """Take records out before they are due; gives those that were known by their offsets until now."""
        wanted = _by_assignment((record.assignment, record.offset) for record in records)
        taken = {assignment: self._known.remove_all(assignment, offsets) for assignment, offsets in wanted.items()}
        return [record for record in records if record.offset in taken[record.assignment]]

    @property
    def is_behind(self) -> bool:
        """Whether records that are being read again may be due soon, or are."""
        return bool(self.coming) and self._first_coming - BEHIND_SECONDS <= self._now_ms >> SECOND_BITS

    def _room(self, second: int) -> int:
        """How many records of a second may be read again now; none as long as half of the budget is used.

        What is due within a sweep goes on to runners as it comes. Where these take it faster than a sweep brings it,
        up to `SOON_COMING` are wanted, whatever fits into memory: else no delay would be made up for that is as long
        as a sweep.
        """
        if self._used_bytes > self._budget_bytes / 2:
            return 0
        usual_bytes = self._used_bytes / self.in_memory if self.in_memory else USUAL_BYTES
        used_bytes = self._used_bytes + self.coming * usual_bytes
        room = 0
        if used_bytes <= self._budget_bytes / 2:
            room = max(1, int((self._budget_bytes - used_bytes) / usual_bytes))
        is_soon = second - BEHIND_SECONDS <= self._now_ms >> SECOND_BITS
        if is_soon and self._used_bytes <= self._budget_bytes / 8:
            return max(room, SOON_COMING - self.coming)
        return room

    # ---- all of them

    def drop(self, assignments: Collection[Assignment]) -> None:
        """Forget the records of partitions that are no longer ours."""
        numbers = {assignment.number for assignment in assignments}
        for entries in (self._come, self._come_since, *self._seconds.values()):
            for _, number, packed in entries:
                if number in numbers:
                    self._let_go(packed)
            entries[:] = [entry for entry in entries if entry[1] not in numbers]
        heapq.heapify(self._come_since)
        self._seconds = {second: entries for second, entries in self._seconds.items() if entries}
        self._known.drop(assignments)
        self._forward = {place for place in self._forward if place[0] not in assignments}
        for assignment in assignments:
            self.coming -= len(self._coming.pop(assignment, ()))
            self._again.pop(assignment, None)
            self._assignments.pop(assignment.number, None)

    def holds(self, assignment: Assignment, offset: int) -> bool:
        """Whether a record waits here; it looks at all of its assignment, unless none of that is elsewhere."""
        if not assignment.source.is_delayed:
            return False
        if not assignment.in_flight or offset in self._coming.get(assignment, ()):
            return True
        if offset in self._known.of(assignment):
            return True
        return any(place == (assignment, offset) for place in self._in_memory_places())

    def find(self, lane: Lane) -> tuple[Record, float] | None:
        """A record of a lane that waits in memory, and the epoch time at which it wakes."""
        key = lane if isinstance(lane, bytes) else lane.encode()
        for wakes, number, packed in self._entries():
            if key in packed and (record := unpacked_record(packed, self._assignments[number])).lane == lane:
                return record, (wakes >> OFFSET_BITS) / 1_000
        return None

    def places(self) -> Iterator[tuple[Assignment, int]]:
        """All that waits here, in no order."""
        yield from self._in_memory_places()
        yield from self._known
        for assignment, offsets in self._coming.items():
            yield from ((assignment, offset) for offset in offsets)

    def _in_memory_places(self) -> Iterator[tuple[Assignment, int]]:
        yield from map(self._place_of, self._entries())

    def _entries(self) -> Iterator[_Entry]:
        yield from self._come
        yield from self._come_since
        for entries in self._seconds.values():
            yield from entries


def _by_assignment(places: Iterable[Place]) -> dict[Assignment, set[int]]:
    offsets: dict[Assignment, set[int]] = {}
    for assignment, offset in places:
        offsets.setdefault(assignment, set()).add(offset)
    return offsets
