"""`Backpressure`: keeps what is in memory inside its bounds, by deciding when to fetch, and which partitions rest.

Pausing a partition throws away the records that the client has fetched ahead for it, so it is done rarely: a short
lack of room is waited out, and what was paused is resumed only when half of the bound is free.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final

from confluent_kafka import Consumer, TopicPartition

from ...topology import Queue
from ...topology.wire import headers as wire
from ..partitions.assignments import Assignments
from ..records.assignment import Assignment
from ..records.record import Record
from ..records.source import Reader
from ..settings import WorkerSettings
from .delayed import HeldRecords
from .settled import SettledBatches

ROOM_SHARE: Final = 0.75
"""Fetching begins again when so much of the bound is used: fetching record by record costs more than waiting."""
LARGE_JOB_BYTES: Final = 256 * 1024
"""What jobs are taken to weigh before any was seen."""
RESUME_SHARE: Final = 0.5
PAUSE_AFTER_S: Final = 1.0
"""How long there must be no room before partitions are paused."""
ROUNDING_S: Final = 0.001
"""Epoch times are floats: looking a moment later, the due time is past however it is rounded."""
CARRY_SHARE: Final = 0.75
"""A record that has waited for so much of its topic's retention is written again, before the brokers delete it."""


class Backpressure:
    """The records in memory of one queue; owned by the poll thread."""

    def __init__(
        self,
        assignments: Assignments,
        settings: WorkerSettings,
        count_parked: Callable[[], int],
        settled: SettledBatches,
        *,
        is_draining: Callable[[], bool] = lambda: False,
    ) -> None:
        self._assignments = assignments
        self._settled = settled
        self._count_parked = count_parked
        self._is_draining = is_draining
        self._max_in_flight = settings.max_in_flight
        self._max_bytes = settings.max_in_flight_bytes
        self._longest_s = longest_wait_s(assignments.queue)
        self._held = HeldRecords(settings.max_held, settings.max_in_flight_bytes)
        self._full_tiers: set[Assignment] = set()
        self._full_at_s: float | None = None
        self._bytes = 0
        self._usual_bytes = float(LARGE_JOB_BYTES)
        self.in_flight = 0
        self.is_paused = False

    @property
    def held(self) -> int:
        """Delayed records that wait in memory."""
        return len(self._held)

    @property
    def is_resting(self) -> bool:
        """Whether some partition is paused."""
        return self.is_paused or bool(self._full_tiers)

    @property
    def room(self) -> int:
        """How many more jobs fit below the bounds, if they are as large as the last ones."""
        by_size = int((self._max_bytes - self._bytes) / self._usual_bytes) + 1
        return max(0, min(self._max_in_flight - self._used(), by_size))

    def may_fetch(self) -> bool:
        """Whether there is room for a good handful, and not soon more of it for those that wait."""
        has_room = self._is_below(ROOM_SHARE)
        if has_room and not self.is_paused:
            self._full_at_s = None
        return has_room and not self.is_paused and not self._is_draining()

    def _is_below(self, share: float) -> bool:
        return self._used() <= self._max_in_flight * share and self._bytes <= self._max_bytes * share

    def _used(self) -> int:
        """The jobs that count against the bound: not those parked behind others of their key, which have their own."""
        return self.in_flight - self._count_parked()

    def begin(self, records: Sequence[Record]) -> None:
        """Count records that go to the lanes; at least one."""
        size_bytes = self._count(records, 1)
        self._usual_bytes = max(1.0, size_bytes / len(records))

    def end(self, records: Collection[Record]) -> None:
        """Count records that were settled or taken back."""
        self._count(records, -1)

    def _count(self, records: Collection[Record], sign: int) -> int:
        """Add records to what is in flight, or take them out; gives their bytes."""
        size_bytes = 0
        for record in records:
            size_bytes += record.size_bytes
            record.assignment.in_flight += sign
        self.in_flight += sign * len(records)
        self._bytes += sign * size_bytes
        return size_bytes

    # ---- a lack of room

    def rest(self, consumer: Consumer) -> None:
        """Do what a turn without room asks for: wait a moment, or pause when that lasts, or resume."""
        now_s = time.monotonic()
        if self.is_paused:
            if self._is_below(RESUME_SHARE):
                self._resume(consumer)
        elif self._full_at_s is None:
            self._full_at_s = now_s
        elif now_s - self._full_at_s > PAUSE_AFTER_S:
            self.pause(consumer)
        else:
            self._settled.wait()

    def pause(self, consumer: Consumer) -> None:
        """Pause all partitions of the main topic, those that leave included; tiers have a bound of their own."""
        self.is_paused = True
        consumer.pause(places(a for a in self._assignments.all() if a.source.reader is Reader.GROUP))

    def _resume(self, consumer: Consumer) -> None:
        self.is_paused = False
        self._full_at_s = None
        running = [a for a in self._assignments.all() if a.is_running]
        consumer.resume(places(self._assignments.flowing(running)))

    def admit(self, consumer: Consumer, restored: Iterable[Assignment]) -> None:
        """Fetch partitions of the main topic whose jobs may start."""
        admitted = places(restored)
        if admitted and not self.is_paused:
            consumer.resume(admitted)

    # ---- delayed records

    @property
    def next_due_at_s(self) -> float | None:
        """The epoch time at which the next delayed record is to be looked at."""
        return self._held.next_due_at_s

    def hold_if_early(self, consumer: Consumer, record: Record) -> bool:
        """Keep a delayed record until its time comes; False if that is now. `consumer` is the tiers'."""
        assignment = record.assignment
        if not assignment.source.is_delayed:
            return False
        until_at_s = wake_at_s(record, self._longest_s)
        if until_at_s <= time.time():
            return False
        self._held.hold(record, until_at_s)
        if assignment not in self._full_tiers and self._held.is_full(assignment, self._assignments.tier_count):
            self._full_tiers.add(assignment)
            consumer.pause(places([assignment]))
        return True

    def release_due(self, consumer: Consumer) -> list[Record]:
        """Take the delayed records whose time has come, as far as there is room. `consumer` is the tiers'."""
        due = self._held.pop_due(time.time(), self.room)
        drained = [a for a in self._full_tiers if self._held.is_half_empty(a, self._assignments.tier_count)]
        self._full_tiers.difference_update(drained)
        if drained:
            consumer.resume(places(drained))
        return due

    def held_records(self) -> list[Record]:
        """The delayed records that wait in memory, in no order."""
        return self._held.records()

    def drop_held(self, leaving: Collection[Assignment]) -> None:
        """Forget the delayed records of partitions that go away."""
        self._held.drop(leaving)
        self._full_tiers.difference_update(leaving)


def places(assignments: Iterable[Assignment]) -> list[TopicPartition]:
    """The partitions as the client names them."""
    return [TopicPartition(a.topic, a.partition) for a in assignments]


def longest_wait_s(queue: Queue) -> float:
    """How long a record may wait on its topic, before it is to be written again."""
    return queue.retention.total_seconds() * CARRY_SHARE


def wake_at_s(record: Record, longest_s: float) -> float:
    """The epoch time at which a delayed record is to be looked at: when it is due, or has waited for `longest_s`.

    A due time that cannot be read is no reason to wait: decoding will refuse the record.
    """
    began_at_s = record.timestamp_ms / 1_000
    value = record.header(wire.DUE)
    if value is None:
        return began_at_s + record.assignment.source.delay.total_seconds()
    try:
        due_at_s = wire.parse_instant(value).timestamp()
    except ValueError:
        return 0.0
    return min(due_at_s + ROUNDING_S, began_at_s + longest_s)
