"""Lanes: the records of one key run one at a time in their order, and a slow one delays nobody but its own key.

A lane exists only while it has work. Its first record is *ready*; the others wait behind it and become ready one by
one, each when the one before has run. So whatever is ready at a time belongs to different lanes, and runners may take
ready records in any order, and from each other, without a lock per key.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import timedelta
from threading import Lock

from ..records.assignment import Assignment, Awaited, Lane
from ..records.outcomes import Outcome
from ..records.record import Record

MakeReady = Callable[[list[Record]], None]


class Lanes:
    """Decides which records may run now; called by the poll thread (`add`, `drop`) and by all runners (`finish`).

    `parked` counts the records that wait behind others of their lane.
    """

    def __init__(self, make_ready: MakeReady) -> None:
        self._make_ready = make_ready
        self._lock = Lock()
        self._waiting: dict[Lane, deque[Record] | None] = {}  # a queue only where something waits: few do
        self.parked = 0

    def add(self, records: Iterable[Record]) -> None:
        """Take records in the order of delivery; the first of each idle lane becomes ready."""
        ready = []
        with self._lock:
            waiting = self._waiting
            for record in records:
                lane = record.lane
                if lane is None:
                    ready.append(record)
                elif lane not in waiting:
                    waiting[lane] = None
                    ready.append(record)
                else:
                    self._park(lane, record)
        if ready:
            self._make_ready(ready)

    def _park(self, lane: Lane, record: Record) -> None:
        behind = self._waiting[lane]
        if behind is None:
            self._waiting[lane] = deque((record,))
        else:
            behind.append(record)
        self.parked += 1

    def parked_records(self) -> list[Record]:
        """Those that wait behind others of their lane."""
        with self._lock:
            return [record for behind in self._waiting.values() if behind is not None for record in behind]

    def awaited_tier(self, record: Record) -> timedelta | None:
        """The tier from which a record is awaited before this one may start: here none."""

    def begin(self, awaited: Mapping[Lane, Collection[Awaited]]) -> None:
        """Here no lane waits for what stands in tiers: later jobs pass those that wait for their retry."""

    def expect(self, record: Record, outcome: Outcome) -> None:
        """Nor for what is about to be written there."""

    def finish(self, record: Record, outcome: Outcome) -> None:
        """Note that a ready record has run; the next one of its lane becomes ready, whatever became of this one."""
        self.release(record)

    def release(self, record: Record) -> None:
        """Note that a ready record has run, or will not run here; the next one of its lane becomes ready."""
        lane = record.lane
        if lane is None:
            return
        with self._lock:
            behind = self._waiting[lane]
            if not behind:
                del self._waiting[lane]
                return
            following = behind.popleft()
            self.parked -= 1
        self._make_ready([following])

    def drop(self, assignments: Collection[Assignment]) -> list[Record]:
        """Take out the waiting records of partitions that are no longer ours; ready ones are the runners' to drop."""
        dropped: list[Record] = []
        with self._lock:
            for lane, behind in self._waiting.items():
                if behind is not None and any(record.assignment in assignments for record in behind):
                    dropped += [record for record in behind if record.assignment in assignments]
                    self._waiting[lane] = deque(record for record in behind if record.assignment not in assignments)
            self.parked -= len(dropped)
        return dropped
