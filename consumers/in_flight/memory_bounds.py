"""`MemoryBounds`: keeps what is in memory inside its bounds, by deciding when to fetch, and which partitions rest.

Pausing a partition throws away the records that the client has fetched ahead for it, so it is done rarely: a short
lack of room is waited out, and what was paused is resumed only when half of the bound is free.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final, Protocol

from confluent_kafka import Consumer, TopicPartition

from ...topology.declaration.priorities import NORMAL
from ..kafka.fetch_wakeup import wake_fetchers
from ..partitions.assignments import Assignments
from ..progress.assignment import Assignment
from ..records.record import Record
from ..settings import WorkerSettings
from ..sources.source import Reader
from .ready_supply import ReadySupply
from .settled import CHANGE_WAIT_S, SettledBatches

ROOM_RATIO: Final = 0.75
"""Fetching begins again when so much of the bound is used: fetching record by record costs more than waiting."""
LARGE_JOB_BYTES: Final = 256 * 1024
"""The assumed size of a job before any was seen."""
RESUME_RATIO: Final = 0.5
PRIORITY_PART: Final = 8
"""Each priority but the normal one has one in so many of the bounds to itself: it is fetched beside a backlog."""
PAUSE_AFTER_S: Final = 1.0
"""How long there must be no room before partitions are paused."""


class ReadyOfPriorities(Protocol):
    """Knows what is ready of each priority."""

    @property
    def others(self) -> Sequence[str]:
        """The priorities beside the normal one, the most urgent first."""

    def count_of(self, priority: str) -> int:
        """How many records."""

    def bytes_of(self, priority: str) -> int:
        """Their size."""


class MemoryBounds:
    """The records in memory of one queue; owned by the poll thread.

    Attributes:
        in_flight: how many were handed to the lanes, and are not settled.
        is_paused: whether the main topic rests.
    """

    def __init__(
        self,
        assignments: Assignments,
        settings: WorkerSettings,
        count_taking_no_room: Callable[[], int],
        settled: SettledBatches,
        *,
        is_draining: Callable[[], bool] = lambda: False,
        ready_supply: ReadySupply | None = None,
        ready: ReadyOfPriorities | None = None,
    ) -> None:
        """Begin without records.

        Args:
            is_draining: whether fetching waits for full lanes that go on fast.
            ready_supply: knows how long the ready jobs last; None where all that has room is fetched.
            ready: knows what is ready of each priority; None where the queue declares none.
        """
        self._assignments, self._fetch_order = assignments, assignments.fetch_order
        self._settled = settled
        self._count_taking_no_room = count_taking_no_room
        self._is_draining = is_draining
        self._ready_supply = ready_supply
        self._most = settings.max_in_flight, settings.max_in_flight_bytes
        self._priorities = () if ready is None else tuple(ready.others)
        self._ready = ready
        self._part = tuple(max(1, most // PRIORITY_PART) for most in self._most)
        self._max_in_flight, self._max_bytes = (
            max(1, most - len(self._priorities) * (most // PRIORITY_PART)) for most in self._most
        )
        self._normal_in_flight = self._normal_bytes = 0  # counted only where there are other priorities
        self._full_at_s: float | None = None
        self._bytes = 0
        self._usual_bytes = self._usual_normal_bytes = float(LARGE_JOB_BYTES)
        self.in_flight = 0
        self.is_paused = False

    @property
    def room(self) -> int:
        """How many more jobs fit below the bounds, if they are as large as the last ones."""
        usual_bytes = self._usual_normal_bytes if self._priorities else self._usual_bytes
        return self._room_below(*self._bounds_beside(self._priorities), usual_bytes)

    @property
    def due_room(self) -> int:
        """How many delayed jobs may start that are due: also where a backlog takes all that normal jobs may take."""
        return self._room_below(*self._most, self._usual_bytes)

    def room_for(self, priority: str) -> int:
        """How many more jobs of a priority may be fetched: none while more than half of its part is ready.

        The more urgent ones find room where others find none. By bytes, there is room for one job at least.
        """
        count, size_bytes = self._ready_of(priority)
        records, part_bytes = self._part
        if count > records / 2 or size_bytes > part_bytes / 2:
            return 0
        usual_bytes = max(1.0, size_bytes / count) if count else self._usual_bytes
        of_part = min(records - count, max(1, int((part_bytes - size_bytes) / usual_bytes)))
        more_urgent = self._priorities[: self._priorities.index(priority)]
        return min(of_part, self._room_below(*self._bounds_beside(more_urgent), usual_bytes))

    def _bounds_beside(self, priorities: Sequence[str]) -> tuple[int, int]:
        """The bounds on jobs and bytes of all priorities that keep free what these have not used of their parts."""
        most_records, most_bytes = self._most
        records, part_bytes = self._part
        for priority in priorities:
            count, size_bytes = self._ready_of(priority)
            most_records -= max(0, records - count)
            most_bytes -= max(0, part_bytes - size_bytes)
        return max(1, most_records), max(1, most_bytes)

    def _ready_of(self, priority: str) -> tuple[int, int]:
        return (0, 0) if self._ready is None else (self._ready.count_of(priority), self._ready.bytes_of(priority))

    def _room_below(self, records: int, size_bytes: int, usual_bytes: float) -> int:
        by_size = int((size_bytes - self._bytes) / usual_bytes) + 1
        return max(0, min(records - self._used(), by_size))

    def may_fetch(self) -> bool:
        """Whether there is room for a good handful, and not soon more of it for those that wait."""
        has_room = self._is_below(ROOM_RATIO) and not self._is_draining()
        if has_room and not self.is_paused:
            self._full_at_s = None
        return has_room and not self.is_paused

    def is_spared(self) -> bool:
        """Whether fetching is better left for a moment, though there may be room."""
        return self._ready_supply is not None and self._ready_supply.spares_fetching()

    def _is_below(self, ratio: float) -> bool:
        if self._priorities:
            return self._has_normal_room(ratio)
        return self._used() <= self._max_in_flight * ratio and self._bytes <= self._max_bytes * ratio

    def _has_normal_room(self, ratio: float) -> bool:
        """Whether normal jobs are below this ratio of their own part, and all jobs below the bounds.

        What others hold does not count against the part of normal jobs: others are refilled as fast as they go, so
        normal ones would never be fetched. One normal job fits always.
        """
        if not self._normal_in_flight:
            return True
        used = self._used()
        others = self.in_flight - self._normal_in_flight
        records, size_bytes = self._bounds_beside(self._priorities)
        return (
            used - others <= self._max_in_flight * ratio
            and self._normal_bytes <= self._max_bytes * ratio
            and used <= records
            and self._bytes <= size_bytes
        )

    def _used(self) -> int:
        """The jobs that count against the bound: not those that wait, nor those of heavy tenants (`UnbegunCounts`)."""
        return self.in_flight - self._count_taking_no_room()

    def begin(self, records: Sequence[Record]) -> None:
        """Count records that go to the lanes; at least one."""
        size_bytes = self._count(records, 1)
        self._usual_bytes = max(1.0, size_bytes / len(records))

    def end(self, records: Collection[Record]) -> None:
        """Count records that were settled or taken back."""
        self._count(records, -1)

    def end_part(self, assignment: Assignment, records: Sequence[Record]) -> None:
        """Count records of one partition that were settled."""
        assignment.in_flight -= len(records)
        self.in_flight -= len(records)
        self._bytes -= sum([record.size_bytes for record in records])
        if self._priorities:
            self._count_normal(records, -1)
        if self._ready_supply is not None:
            self._ready_supply.note_done(len(records))

    def _count(self, records: Collection[Record], sign: int) -> int:
        """Add records to what is in flight, or take them out; returns their bytes."""
        size_bytes = 0
        for record in records:
            size_bytes += record.size_bytes
            record.assignment.in_flight += sign
        self.in_flight += sign * len(records)
        self._bytes += sign * size_bytes
        if self._priorities:
            self._count_normal(records, sign)
        return size_bytes

    def _count_normal(self, records: Iterable[Record], sign: int) -> None:
        sizes_bytes = [record.size_bytes for record in records if record.priority == NORMAL]
        self._normal_in_flight += sign * len(sizes_bytes)
        self._normal_bytes += sign * sum(sizes_bytes)
        if sign > 0 and sizes_bytes:
            self._usual_normal_bytes = max(1.0, sum(sizes_bytes) / len(sizes_bytes))

    # ---- a lack of room

    def wait_settled(self, within_s: float) -> None:
        """Wait a moment for jobs to be settled."""
        self._settled.wait(within_s)

    def rest(self, consumer: Consumer, within_s: float = CHANGE_WAIT_S) -> None:
        """Do what a turn without room asks for: wait a moment, or pause when that lasts, or resume."""
        now_s = time.monotonic()
        if self.is_paused:
            if self._is_below(RESUME_RATIO):
                self._resume(consumer)
        elif self._full_at_s is None:
            self._full_at_s = now_s
        elif now_s - self._full_at_s > PAUSE_AFTER_S:
            self.pause(consumer)
        else:
            self._settled.wait(within_s)

    def pause(self, consumer: Consumer) -> None:
        """Pause all partitions of the main topic, those that leave included; waiting topics have their own bound."""
        self.is_paused = True
        consumer.pause(partitions_of(a for a in self._assignments.all() if a.source.reader is Reader.GROUP))

    def _resume(self, consumer: Consumer) -> None:
        self.is_paused = False
        self._full_at_s = None
        running = [a for a in self._assignments.all() if a.is_running]
        consumer.resume(partitions_of(self._fetch_order.fetchable(running, Reader.GROUP)))

    def admit(self, consumer: Consumer, restored: Iterable[Assignment]) -> None:
        """Fetch partitions of the main topic whose jobs may start, without delay: jobs may wait there."""
        admitted = partitions_of(restored)
        if admitted and not self.is_paused:
            consumer.resume(admitted)
            wake_fetchers(consumer, admitted)


def partitions_of(assignments: Iterable[Assignment]) -> list[TopicPartition]:
    """The partitions as the client names them."""
    return [TopicPartition(a.topic, a.partition) for a in assignments]
