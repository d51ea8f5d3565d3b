"""Lanes of a queue with `ordering="strict"`: later jobs of a key wait also while an earlier one waits to be due.

A lane is in one of four states. Something of it is *in hand* (ready, running, or ended and not yet settled); or it is
*suspended*, because records of its key are awaited from tiers and delays; or it is *idle*, because its next record is
being read again; or it has nothing to do, and is forgotten. Of a lane that a gate holds back, nothing may be in memory.
What comes from tiers and delays goes ahead of what is
parked from the main topic.

Which records are awaited is known from two sources: those that this worker moved there, and those that were found
there when the partition was assigned (`pending_retries.py`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping

from ..backlog.lane_backlog import hash_of
from ..progress.assignment import Assignment, Awaited, Lane
from ..records.outcomes import DONE, SKIPPED, Outcome
from ..records.record import Record
from ..sources.source import Source
from .lanes import Lanes, MakeReady, SettledRecord
from .parking import USUAL_LIMITS, ParkingLimits
from .pending_retries import awaited_after, awaited_as


class _Lane:
    """The records of one key; a key that is only suspended has none, since there may be a great many."""

    __slots__ = ("ahead", "behind", "in_hand")

    def __init__(self) -> None:
        self.in_hand: Record | None = None
        self.ahead: deque[Record] = deque()
        self.behind: deque[Record] = deque()

    @property
    def is_empty(self) -> bool:
        """Whether nothing of it is in memory."""
        return self.in_hand is None and not self.ahead and not self.behind

    def advance(self, *, is_suspended: bool) -> Record | None:
        """The record that may start now, if any; it is in hand from now on."""
        if self.in_hand is None:
            if self.ahead:
                self.in_hand = self.ahead.popleft()
                return self.in_hand
            if self.behind and not is_suspended:
                self.in_hand = self.behind.popleft()
                return self.in_hand
        return None

    def drop(self, assignments: Collection[Assignment]) -> list[Record]:
        """Take out the waiting records of these assignments."""
        gone = [r for queue in (self.ahead, self.behind) for r in queue if r.assignment in assignments]
        if gone:
            self.ahead = deque(record for record in self.ahead if record.assignment not in assignments)
            self.behind = deque(record for record in self.behind if record.assignment not in assignments)
        return gone


class StrictLanes(Lanes):
    """The lanes of a queue with `ordering="strict"`."""

    def __init__(self, make_ready: MakeReady, limits: ParkingLimits = USUAL_LIMITS) -> None:
        super().__init__(make_ready, limits)
        self._lanes: dict[Lane, _Lane] = {}
        self._awaited: dict[Lane, list[Awaited]] = {}

    def parked_records(self) -> list[Record]:
        """The records that wait behind others of their key."""
        with self._lock:
            return [r for lane in self._lanes.values() for behind in (lane.ahead, lane.behind) for r in behind]

    def awaited_source(self, record: Record) -> Source | None:
        """Where the record of the key waits that must come before this one may start; None if there is none."""
        if record.lane is None:
            return None
        with self._lock:
            return next((source for source, *_ in self._awaited.get(record.lane, [])), None)

    def begin(self, awaited: Mapping[Lane, Collection[Awaited]]) -> None:
        """Await the records of a partition in tiers and delay topics; called before any of the partition is added."""
        with self._lock:
            for key, names in awaited.items():
                self._awaited.setdefault(key, []).extend(names)

    def add(self, records: Iterable[Record]) -> list[Record]:
        """Take records in the order of delivery; the first of each lane that is free becomes ready.

        Returns those that were put aside. What comes from a tier never is: a key has one record there, as a rule.
        """
        ready: list[Record] = []
        aside: list[Record] = []
        with self._lock:
            for record in records:
                if record.lane is None:
                    ready.append(record)
                    continue
                goes_ahead = record.assignment.source.goes_ahead
                if not goes_ahead and self._is_aside(record.lane):
                    self._put_aside(record.lane, record)
                    aside.append(record)
                    continue
                lane = self._lane(record.lane)
                if goes_ahead:
                    lane.ahead.append(record)
                    self.parking.add(record)
                    self._await_no_more(record.lane, awaited_as(record))
                elif self._park(record.lane, record, lane.behind):
                    lane.behind.append(record)
                else:
                    aside.append(record)
                ready += self._advance(record.lane, lane)
        if ready:
            self._make_ready(ready)
        return aside

    def _park(self, key: Lane, record: Record, behind: Collection[Record]) -> bool:
        """Count a record as parked behind these of its lane; False if it was put aside instead."""
        backlog = self.backlog
        if (backlog.may_hold(key) and backlog.holds(hash_of(key))) or not self.parking.park(record, behind):
            self._put_aside(key, record)
            return False
        return True

    def _is_aside(self, key: Lane) -> bool:
        """Whether nothing of a lane is in memory, and some of it is aside."""
        return self.backlog.may_hold(key) and key not in self._lanes and self.backlog.holds(hash_of(key))

    def set_parked_aside(self, is_due: Callable[[Record], bool]) -> list[Record]:
        """Put aside all that parks in lanes where any of it is due to go."""
        left: list[Record] = []
        with self._lock:
            for key, lane in list(self._lanes.items()):
                parked = [*lane.ahead, *lane.behind]
                if any(map(is_due, parked)) and self._move_aside(key, parked):
                    left += parked
                    self._keep_in_hand(key, lane)
        return left

    def _keep_in_hand(self, key: Lane, lane: _Lane) -> None:
        """Remove all records of a lane from memory, except the one in hand."""
        lane.ahead.clear()
        lane.behind.clear()
        if lane.is_empty:
            del self._lanes[key]

    def exchange(self, record: Record, copy: Record) -> None:
        """Know the record in hand by its copy from now on."""
        with self._lock:
            lane = None if record.lane is None else self._lanes.get(record.lane)
            if lane is not None and lane.in_hand is record:
                lane.in_hand = copy

    def _remove_lane(self, lane: Lane) -> list[Record]:
        removed = self._lanes.pop(lane)
        return [*removed.ahead, *removed.behind]

    def _bring_back(self, lane_hash: int, record: Record) -> list[Record]:
        self._idle.pop(lane_hash, None)
        if record.lane is None:
            return [record]
        lane = self._lane(record.lane)
        (lane.ahead if record.assignment.source.goes_ahead else lane.behind).append(record)
        self.parking.add(record)
        return self._advance(record.lane, lane)

    def _go_on_without(self, lane_hash: int) -> None:
        key = self._idle.pop(lane_hash)
        if key is None:
            self._wake(lane_hash)
        else:  # no record may start by that: while a lane is idle, none of it waits in memory
            self._advance(key, self._lane(key))

    def expect(self, record: Record, outcome: Outcome) -> None:
        """Suspend the lane of a job that goes on to wait. It precedes the write: else the record may come before."""
        awaited = awaited_after(record, outcome)
        if awaited is not None and record.key is not None:
            with self._lock:  # which `drop` takes after the assignment was closed: it forgets this, or nothing is added
                if record.assignment.is_staying:
                    self._awaited.setdefault(record.key, []).append(awaited)

    def note_settled(self, settled: Iterable[SettledRecord]) -> None:
        """Let the lanes of these go on. A job that was to wait, and does not, is awaited no more."""
        for item in settled:
            if item.instead_of is not None and item.record.assignment.is_active:
                self._expect_no_more(item.record, item.instead_of)
            self.free(item.record)

    def _expect_no_more(self, record: Record, outcome: Outcome) -> None:
        awaited = awaited_after(record, outcome)
        if awaited is None or record.key is None:
            return
        with self._lock:
            self._await_no_more(record.key, awaited)
            following = self._advance(record.key, self._lane(record.key))
        if following:
            self._make_ready(following)

    def finish(self, record: Record, outcome: Outcome) -> None:
        """Note that a record in hand has run; where its job is done, the next one of its lane becomes ready.

        A job that goes on to wait has suspended its lane. After any other end the lane waits for `note_settled`: were
        a dead letter lost in a crash, its job would run again after the next one of its key.
        """
        if outcome is DONE or outcome is SKIPPED or awaited_after(record, outcome) is not None:
            self.free(record)

    def free(self, record: Record) -> None:
        """Note that a record in hand was settled, or will not run here; the next one of its lane becomes ready."""
        if record.lane is None:
            return
        with self._lock:
            lane = self._lane(record.lane)
            if lane.in_hand is record:
                lane.in_hand = None
            following = self._advance(record.lane, lane)
        if following:
            self._make_ready(following)

    def drop(self, assignments: Collection[Assignment]) -> list[Record]:
        """Take out the waiting records of partitions that are no longer ours; ready ones are the runners' to drop."""
        dropped: list[Record] = []
        gone = {(a.source, a.partition) for a in assignments if a.source.goes_ahead}
        with self._lock:
            touched = self._forget_awaited(gone)
            for key, lane in self._lanes.items():
                dropped_of_lane = lane.drop(assignments)
                if dropped_of_lane:
                    dropped += dropped_of_lane
                    touched.add(key)
            for record in dropped:
                self.parking.leave(record)
            early, following = self._drop_backlog(assignments)
            touched |= self._take_idle()
            following += [record for key in touched for record in self._advance(key, self._lane(key))]
        if following:
            self._make_ready(following)
        return dropped + early

    def _take_idle(self) -> set[Lane]:
        """Wake those again that have woken before, and take out the others."""
        idle, self._idle = self._idle, {}
        for lane_hash in [lane_hash for lane_hash, key in idle.items() if key is None]:
            if self.backlog.is_coming(lane_hash):
                self._idle[lane_hash] = None
            else:
                self._wake(lane_hash)
        return {key for key in idle.values() if key is not None}

    def _lane(self, key: Lane) -> _Lane:
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = _Lane()
        return lane

    def _advance(self, key: Lane, lane: _Lane) -> list[Record]:
        """Take the record of a lane that may start now, if it is in memory; have it read again if it is aside."""
        is_suspended = key in self._awaited
        following = lane.advance(is_suspended=is_suspended)
        if following is not None:
            self.parking.remove(following)
        has_moved = following is not None or lane.in_hand is None
        if has_moved and self.backlog.may_hold(key) and not is_suspended and self.backlog.holds(hash_of(key)):
            self._want_more(hash_of(key), lane.behind)
            if lane.is_empty:
                self._idle[hash_of(key)] = key
        if lane.is_empty:
            self._lanes.pop(key, None)
        return [] if following is None else [following]

    def _forget_awaited(self, gone: Collection[tuple[Source, int]]) -> set[Lane]:
        """Stop waiting for records of partitions that this worker lost; return the keys that waited for them."""
        touched: set[Lane] = set()
        for key, names in list(self._awaited.items()):
            kept = [awaited for awaited in names if awaited[:2] not in gone]
            if len(kept) < len(names):
                self._keep(key, kept)
                touched.add(key)
        return touched

    def _await_no_more(self, key: Lane, arrived: Awaited) -> None:
        names = self._awaited.get(key, [])
        if arrived in names:
            names.remove(arrived)
            self._keep(key, names)

    def _keep(self, key: Lane, names: list[Awaited]) -> None:
        if names:
            self._awaited[key] = names
        else:
            del self._awaited[key]
