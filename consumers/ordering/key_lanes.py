"""`KeyLanes`: the records of one key run one at a time in their order, and a slow one delays nobody but its own key.

A lane exists only while it has work. Its first record is ready; the others wait behind it and become ready one by one,
each when the one before has run, whatever became of that. Jobs that wait in a retry tier are passed by later ones.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Mapping
from datetime import timedelta

from ..records.assignment import Assignment, Awaited, Lane
from ..records.outcomes import Outcome
from ..records.record import Record
from .lanes import Lanes, MakeReady, SettledRecord


class KeyLanes(Lanes):
    """The lanes of a queue with `ordering="key"`; with `"none"`, only repetitions of one job share a lane."""

    def __init__(self, make_ready: MakeReady) -> None:
        super().__init__(make_ready)
        self._waiting: dict[Lane, deque[Record] | None] = {}  # a queue only where something waits: few do

    def begin(self, awaited: Mapping[Lane, Collection[Awaited]]) -> None:
        """No lane waits for the records of tiers."""

    def add(self, records: Iterable[Record]) -> None:
        """Make the first record of each idle lane ready, and park the others."""
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

    def expect(self, record: Record, outcome: Outcome) -> None:
        """No lane waits for what is about to be written."""

    def finish(self, record: Record, outcome: Outcome) -> None:
        """Make the next record of the lane ready, whatever the outcome."""
        self.release(record)

    def note_settled(self, settled: Iterable[SettledRecord]) -> None:
        """No lane waits until outcomes are durable."""

    def release(self, record: Record) -> None:
        """Make the next record of the lane ready; an empty lane is forgotten."""
        self.release_all((record,))

    def release_all(self, records: Iterable[Record]) -> None:
        """Do so for several, of different lanes."""
        following: list[Record] = []
        with self._lock:
            waiting = self._waiting
            for record in records:
                lane = record.lane
                if lane is None:
                    continue
                behind = waiting[lane]
                if behind:
                    following.append(behind.popleft())
                else:
                    del waiting[lane]
            self.parked -= len(following)
        if following:
            self._make_ready(following)

    def drop(self, assignments: Collection[Assignment]) -> list[Record]:
        """Take out the parked records of these."""
        dropped: list[Record] = []
        with self._lock:
            for lane, behind in self._waiting.items():
                if behind is not None and any(record.assignment in assignments for record in behind):
                    dropped += [record for record in behind if record.assignment in assignments]
                    self._waiting[lane] = deque(record for record in behind if record.assignment not in assignments)
            self.parked -= len(dropped)
        return dropped

    def parked_records(self) -> list[Record]:
        """The records that wait behind others of their lane."""
        with self._lock:
            return [record for behind in self._waiting.values() if behind is not None for record in behind]

    def awaited_tier(self, record: Record) -> timedelta | None:
        """None is awaited."""
