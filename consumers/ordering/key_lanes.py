"""`KeyLanes`: the records of one key run one at a time in their order, and a slow one delays its own key alone.

A lane exists only while it has work. Its first record is ready; the others wait behind it and become ready one by one,
each when the one before has run, whatever became of that. Jobs that wait in a retry tier are passed by later ones.

A lane is *idle* where nothing of it is ready or running, because its next record is being read again. Of a lane that a
gate holds back nothing may be in memory at all.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping

from ..backlog.lane_backlog import LAST_MARK, hash_of
from ..progress.assignment import Assignment, Awaited, Lane
from ..records.outcomes import Outcome
from ..records.record import Record
from ..sources.source import Source
from .lanes import Lanes, MakeReady, SettledRecord
from .parking import USUAL_LIMITS, ParkingLimits


class KeyLanes(Lanes):
    """The lanes of a queue with `ordering="key"`; with `"none"`, only repetitions of one job share a lane."""

    def __init__(self, make_ready: MakeReady, limits: ParkingLimits = USUAL_LIMITS) -> None:
        super().__init__(make_ready, limits)
        self._waiting: dict[Lane, deque[Record] | None] = {}  # a queue only where something waits: few do

    def begin(self, awaited: Mapping[Lane, Collection[Awaited]]) -> None:
        """No lane waits for the records of tiers and delays."""

    def add(self, records: Iterable[Record]) -> list[Record]:
        """Make the first record of each lane without records ready, park the others; returns those put aside."""
        ready: list[Record] = []
        aside: list[Record] = []
        with self._lock:
            waiting, backlog = self._waiting, self.backlog
            indexes, marks = backlog.indexes, backlog.marks
            for record in records:
                lane = record.lane
                if lane is None:
                    ready.append(record)
                elif indexes and marks[hash(lane) & LAST_MARK] and backlog.holds(hash_of(lane)):
                    self._put_aside(lane, record)
                    aside.append(record)
                elif lane not in waiting:
                    waiting[lane] = None
                    ready.append(record)
                elif self.parking.park(record, waiting[lane] or ()):
                    self._put_behind(lane, record)
                else:
                    self._put_aside(lane, record)
                    aside.append(record)
        if ready:
            self._make_ready(ready)
        return aside

    def _put_behind(self, lane: Lane, record: Record) -> None:
        behind = self._waiting[lane]
        if behind is None:
            self._waiting[lane] = deque((record,))
        else:
            behind.append(record)

    def _bring_back(self, lane_hash: int, record: Record) -> list[Record]:
        lane = record.lane
        is_idle = self._idle.pop(lane_hash, None) is not None
        if lane is None:
            return [record]
        if is_idle or lane not in self._waiting:
            self._waiting.setdefault(lane, None)
            return [record]
        self.parking.add(record)
        self._put_behind(lane, record)
        return []

    def _go_on_without(self, lane_hash: int) -> None:
        self._rest(lane_hash, self._idle[lane_hash])

    def _rest(self, lane_hash: int, lane: Lane | None) -> None:
        """Wait for the next record of a lane of which nothing is in hand, or forget the lane; None where it has woken.

        One that has woken may be in memory by now, and at work: a record of it that comes parks then.
        """
        if not self.backlog.holds(lane_hash):
            self._idle.pop(lane_hash, None)
            if lane is not None:
                del self._waiting[lane]
            return
        self._idle[lane_hash] = lane
        self._want_more(lane_hash, ())

    def set_parked_aside(self, is_due: Callable[[Record], bool]) -> list[Record]:
        """Put aside all that parks in lanes where any of it is due to go."""
        left: list[Record] = []
        with self._lock:
            for lane, behind in self._waiting.items():
                if behind and any(map(is_due, behind)) and self._move_aside(lane, behind):
                    self._waiting[lane] = None
                    left += behind
        return left

    def exchange(self, record: Record, copy: Record) -> None:
        """A lane knows its first record by the key alone."""

    def _remove_lane(self, lane: Lane) -> list[Record]:
        return list(self._waiting.pop(lane) or ())

    def expect(self, record: Record, outcome: Outcome) -> None:
        """No lane waits for what is about to be written."""

    def finish(self, record: Record, outcome: Outcome) -> None:
        """Make the next record of the lane ready, whatever the outcome."""
        self.free(record)

    def note_settled(self, settled: Iterable[SettledRecord]) -> None:
        """No lane waits until outcomes are durable."""

    def free(self, record: Record) -> None:
        """Make the next record of the lane ready; an empty lane is forgotten."""
        self.free_all((record,))

    def free_all(self, records: Iterable[Record]) -> None:
        """Do so for several, of different lanes."""
        following: list[Record] = []
        with self._lock:
            waiting, indexes, marks = self._waiting, self.backlog.indexes, self.backlog.marks
            for record in records:
                lane = record.lane
                if lane is None:
                    continue
                behind = waiting[lane]
                if behind:
                    next_one = behind.popleft()
                    self.parking.remove(next_one)
                    following.append(next_one)
                elif indexes and marks[hash(lane) & LAST_MARK]:
                    self._rest(hash_of(lane), lane)
                else:
                    del waiting[lane]
            if indexes:
                self._want_behind(following)
        if following:
            self._make_ready(following)

    def _want_behind(self, following: Iterable[Record]) -> None:
        """Want more of the lanes that go on with these."""
        for record in following:
            if record.lane is not None and self.backlog.may_hold(record.lane):
                self._want_more(hash_of(record.lane), self._waiting[record.lane] or ())

    def drop(self, assignments: Collection[Assignment]) -> list[Record]:
        """Take out the records of these."""
        dropped: list[Record] = []
        with self._lock:
            for lane, behind in self._waiting.items():
                if behind is not None and any(record.assignment in assignments for record in behind):
                    dropped += [record for record in behind if record.assignment in assignments]
                    self._waiting[lane] = deque(record for record in behind if record.assignment not in assignments)
            for record in dropped:
                self.parking.leave(record)
            early, ready = self._drop_backlog(assignments)
            for lane_hash, lane_or_none in list(self._idle.items()):
                self._rest(lane_hash, lane_or_none)
        if ready:
            self._make_ready(ready)
        return dropped + early

    def parked_records(self) -> list[Record]:
        """The records that wait behind others of their lane."""
        with self._lock:
            return [record for behind in self._waiting.values() if behind is not None for record in behind]

    def awaited_source(self, record: Record) -> Source | None:
        """None is awaited."""
