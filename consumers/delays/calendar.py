"""`Calendar`: records that wait until they are due. The next ones are in memory, all others are known by their offsets.

A record in memory is packed (`packed_records.py`). When these have used up their
budget, those that are due last are forgotten but for their offsets, 8 bytes each. What is due next is read again before
its time: as soon as half of the budget is free, the calendar wants the next offsets.

    in memory   packed: `RecordsInMemory`
    by offset   by the ticks of 1.024 s in which they are due: `KnownOffsets`
    coming      wanted, and being read again: `ComingOffsets`

No record in memory is due in a later tick than one that is known by its offset.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import chain
from typing import Final

from confluent_kafka import Message

from ...topology.wire.headers import HeaderList
from ..backlog.requester import Wanted
from ..progress.assignment import Assignment, Lane, Place
from ..records.record import Record
from ..standing_orders.reschedules import NO_RESCHEDULES, RescheduledJob, Reschedules
from .coming_offsets import ComingOffsets
from .due_times import pairs_of, wake_at_ms
from .known_offsets import TICK_BITS, KnownOffsets
from .packed_records import packed_record
from .records_in_memory import RecordsInMemory

BUDGET_BYTES: Final = 24 * 1024 * 1024
"""Packed records in memory: some 80,000 of 100 bytes each, three quarters of a minute at 1,700 jobs a second."""
BEHIND_TICKS: Final = 20
"""Some 20 s: a sweep over a million records takes some ten seconds where runners have much to do."""
SOON_COMING: Final = 60_000
"""Records due within a sweep that are being read again, at most: 6 MB of offsets."""


class Calendar:
    """The delayed records of one queue; owned by the poll thread. It reads nothing: see `take_wanted`.

    `rescheduled` has the jobs that have another time by now, for `look_again`.
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
        self._known = KnownOffsets()
        self._memory = RecordsInMemory(budget_bytes, evict=self._known.note)
        self._coming = ComingOffsets()
        self._forward: set[Place] = set()

    def __len__(self) -> int:
        return self._memory.count + len(self._known) + self._coming.count

    @property
    def in_memory(self) -> int:
        """How many records are in memory."""
        return self._memory.count

    @property
    def coming(self) -> int:
        """How many are wanted, or being read again."""
        return self._coming.count

    # ---- what comes

    def add(self, message: Message, assignment: Assignment) -> None:
        """Take a record as it was fetched."""
        pairs, timestamp_ms = pairs_of(message), message.timestamp()[1]
        offset: int = message.offset()  # type: ignore[assignment]  # a consumed one has it
        wake_ms = self._wake_ms(pairs, timestamp_ms, assignment, offset)
        tick = wake_ms >> TICK_BITS
        if self._is_beyond_memory(tick):
            self._known.note(assignment, offset, wake_ms, self._memory.now_ms)
        else:
            self._memory.keep(wake_ms, offset, assignment, packed_record(message, offset, timestamp_ms, pairs))

    def take_reread(self, assignment: Assignment, message: Message) -> bool:
        """Take a record that was read again; False where it is none of those that the calendar has wanted."""
        offset: int = message.offset()  # type: ignore[assignment]  # a consumed one has it
        if not self._coming.end(assignment, offset):
            return False
        pairs, timestamp_ms = pairs_of(message), message.timestamp()[1]
        wake_ms = self._wake_ms(pairs, timestamp_ms, assignment, offset)
        tick, first = wake_ms >> TICK_BITS, self._known.first
        if (first is not None and tick > first) or self._memory.is_full_before(tick):
            self._known.note(assignment, offset, wake_ms, self._memory.now_ms)
        else:
            self._forward.discard((assignment, offset))  # not above: there it is read once more
            self._memory.keep(wake_ms, offset, assignment, packed_record(message, offset, timestamp_ms, pairs))
        return True

    def _wake_ms(self, pairs: HeaderList | None, timestamp_ms: int, assignment: Assignment, offset: int) -> int:
        """When to look at a record: at its own time, or sooner where its job was rescheduled to that."""
        if self._forward and (assignment, offset) in self._forward:
            return self._memory.now_ms
        own_ms = wake_at_ms(pairs, timestamp_ms, assignment.source, self._longest_s)
        if not self._reschedules.stands:
            return own_ms
        due_at_s = self._reschedules.due_at_s_of(pairs, (assignment.topic, assignment.partition, offset))
        return own_ms if due_at_s is None else min(own_ms, math.ceil(due_at_s * 1_000))

    def look_for(self, job_ids: Collection[bytes]) -> None:
        """Have the records of jobs read again at once, of those in memory; perhaps also ones that only name them."""
        self.look_again(self._memory.naming(job_ids))

    def look_again(self, places: Collection[Place]) -> set[Place]:
        """Have records read again at once, as their times may be others by now; returns the places that wait here.

        It passes once over what waits here, however many places there are, and ends as soon as it has found all.
        """
        found = {place for place in places if self._coming.has(place)}
        taken = self._memory.forget(set(places) - found)
        for assignment, offsets in _by_assignment(set(places) - found - taken).items():
            taken |= {(assignment, offset) for offset in self._known.remove_all(assignment, offsets)}
        for assignment, offsets in _by_assignment(taken).items():
            self._coming.add_again(assignment, offsets, self._memory.now_ms >> TICK_BITS)
        return found | taken

    def bring_forward(self, places: Collection[Place]) -> None:
        """Have records read again and let them go at once, whatever their times are."""
        self._forward |= self.look_again(places)

    def note_gone(self, assignment: Assignment, offset: int) -> bool:
        """Note that a record cannot be read again, since the brokers have deleted it; False where it was not wanted."""
        return self._coming.end(assignment, offset)

    def _is_beyond_memory(self, tick: int) -> bool:
        """Whether a record of a tick is to be known by its offset alone."""
        first = self._known.first
        if first is not None and tick >= first:
            return True
        return self._memory.is_full_before(tick)

    # ---- in memory

    def pop_due(self, now_s: float, limit: int) -> list[Record]:
        """Take out at most `limit` records whose time has come, of those in memory, the earliest first."""
        return self._memory.pop_due(int(now_s * 1_000), limit)

    @property
    def ticks(self) -> list[int]:
        """The ticks of the records in memory that have not come."""
        return self._memory.ticks

    def take_out(self, tick: int, is_wanted: Callable[[Record], bool], most: int) -> tuple[list[Record], int]:
        """Take records of a tick out that are in memory and wanted before they are due; and how many there were."""
        return self._memory.take_out(tick, is_wanted, most)

    @property
    def next_due_at_s(self) -> float | None:
        """The epoch time at which `pop_due` is to be called again, if nothing comes meanwhile."""
        return self._memory.next_due_at_s

    @property
    def next_wake_at_s(self) -> float | None:
        """The epoch time, to a tick, at which the next record of all that wait here is to be looked at."""
        coming = self._coming.first_tick if self._coming.count else None
        ticks = [tick for tick in (self._known.first, coming) if tick is not None]
        known = [(tick << TICK_BITS) / 1_000 for tick in ticks]
        in_memory = self.next_due_at_s
        return min(known if in_memory is None else [*known, in_memory], default=None)

    # ---- by offset

    def take_wanted(self) -> Wanted:
        """The records that are to be read again by now: {assignment: offsets}; each comes to `take_reread`, or is gone.

        As long as half of the budget is used, nothing is wanted. A tick that does not fit is taken in parts.
        """
        wanted = self._coming.take_again() if self._coming.again else {}
        while self._known and (tick := self._known.next_tick()) is not None and (room := self._room(tick)) > 0:
            for assignment, offsets in self._known.pop(tick, room):
                self._coming.add(assignment, offsets, tick)
                wanted.setdefault(assignment, []).extend(offsets)
        return wanted

    def known_offsets(self) -> Wanted:
        """The records that are known by their offsets alone: {assignment: offsets in the order of the log}."""
        return self._known.by_assignment()

    def take_known(self, records: Collection[Record]) -> list[Record]:
        """Take records out before they are due; returns those that were known by their offsets until now."""
        wanted = _by_assignment((record.assignment, record.offset) for record in records)
        taken = {assignment: self._known.remove_all(assignment, offsets) for assignment, offsets in wanted.items()}
        return [record for record in records if record.offset in taken[record.assignment]]

    @property
    def is_behind(self) -> bool:
        """Whether records that are being read again may be due soon, or are."""
        return bool(self._coming.count) and self._is_soon(self._coming.first_tick)

    def _is_soon(self, tick: int) -> bool:
        return tick - BEHIND_TICKS <= self._memory.now_ms >> TICK_BITS

    def _room(self, tick: int) -> int:
        """How many records of a tick may be read again now; none as long as half of the budget is used.

        What is due within a sweep goes on to runners as it comes. Where these take it faster than a sweep brings it,
        up to `SOON_COMING` are wanted, whatever fits into memory: else no delay would be made up for that is as long
        as a sweep.
        """
        memory, coming = self._memory, self._coming.count
        if memory.used_bytes > self._budget_bytes / 2:
            return 0
        usual_bytes = memory.usual_bytes
        used_bytes = memory.used_bytes + coming * usual_bytes
        room = 0
        if used_bytes <= self._budget_bytes / 2:
            room = max(1, int((self._budget_bytes - used_bytes) / usual_bytes))
        if memory.used_bytes <= self._budget_bytes / 8 and self._is_soon(tick):
            return max(room, SOON_COMING - coming)
        return room

    # ---- all of them

    def drop(self, assignments: Collection[Assignment]) -> None:
        """Forget the records of partitions that are no longer ours."""
        self._memory.drop(assignments)
        self._known.drop(assignments)
        self._coming.drop(assignments)
        self._forward = {place for place in self._forward if place[0] not in assignments}

    def holds(self, assignment: Assignment, offset: int) -> bool:
        """Whether a record waits here; it looks at all of its assignment, unless none of that is elsewhere."""
        if not assignment.source.is_delayed:
            return False
        place = assignment, offset
        if not assignment.in_flight or self._coming.has(place) or offset in self._known.of(assignment):
            return True
        return place in self._memory

    def find(self, lane: Lane) -> tuple[Record, float] | None:
        """A record of a lane that waits in memory, and the epoch time at which it wakes."""
        return self._memory.find(lane)

    def places(self) -> Iterator[Place]:
        """All that waits here, in no order."""
        return chain(self._memory, self._known, self._coming)


def _by_assignment(places: Iterable[Place]) -> dict[Assignment, set[int]]:
    offsets: dict[Assignment, set[int]] = {}
    for assignment, offset in places:
        offsets.setdefault(assignment, set()).add(offset)
    return offsets
