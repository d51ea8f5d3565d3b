"""`Lanes`: decides which records may run now. A lane is what runs one at a time, in its order: the records of one key.

| queue                      | its lanes     | the next record of a lane starts                        |
|----------------------------|---------------|---------------------------------------------------------|
| `ordering="key"`, `"none"` | `KeyLanes`    | when the one before has run                             |
| `ordering="strict"`        | `StrictLanes` | when the job before is done, cancelled or a dead letter |

The first record that comes to a lane without records is *ready*. So whatever is ready at a time belongs to different
lanes, and runners may take ready records in any order, and from each other, without a lock per key.

The others *park* behind it: a few in memory, all further ones *aside*, by their offset (`backlog/`). When half of those
in memory have run, the lane wants the next ones; the poll thread reads them again, and `readd` brings them back, in
the lane's order.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Protocol

from ..backlog.lane_backlog import LaneBacklog, hash_of
from ..backlog.tenant_lines import TenantLines
from ..progress.assignment import Assignment, Awaited, Lane, Place
from ..records.outcomes import Outcome
from ..records.record import Record
from ..sources.source import Source
from .parking import Parking, ParkingLimits

MakeReady = Callable[[list[Record]], None]


class SettledRecord(Protocol):
    """The part of a settled record that lanes read: the outcome that was given up for another, if any."""

    @property
    def record(self) -> Record:
        """The record that was settled."""

    @property
    def instead_of(self) -> Outcome | None:
        """The outcome that could not be written; None where the first one was."""


class Lanes(ABC):
    """The lanes of one queue; safe to call from all threads.

    Attributes:
        parking: counts what waits in memory behind others of its lane.
        backlog: those that wait aside, by their offset; its lock is that of the lanes.
        lines: what of the backlog is aside for tenants, and in no lane yet.
    """

    def __init__(self, make_ready: MakeReady, limits: ParkingLimits) -> None:
        self._make_ready = make_ready
        self._idle: dict[int, Lane | None] = {}
        self.parking = Parking(limits)
        self.backlog = LaneBacklog()
        self.lines = TenantLines(self.backlog)
        self._lock = self.backlog.lock

    @property
    def waiting(self) -> int:
        """How many records wait behind others of their lane, wherever they are."""
        return self.parking.count + len(self.backlog)

    @property
    def idle(self) -> int:
        """How many lanes have nothing in hand until their next record was read again."""
        return len(self._idle)

    @abstractmethod
    def begin(self, awaited: Mapping[Lane, Collection[Awaited]]) -> None:
        """Learn what tiers and delays hold of a partition; called before anything of the partition is added."""

    @abstractmethod
    def add(self, records: Iterable[Record]) -> list[Record]:
        """Take records in the order of delivery; the first of each lane without records becomes ready.

        Those returned are aside: they are not in memory any more as soon as the caller lets them go.
        """

    def add_unread(self, lane: Lane, assignment: Assignment, offset: int) -> bool:
        """Put an unread record aside; False if its lane has none aside, and the caller must add it."""
        backlog, lane_hash = self.backlog, hash_of(lane)
        with self._lock:
            if not backlog.holds(lane_hash):
                return False
            backlog.put(lane_hash, assignment, offset)
        return True

    # ---- whole lanes

    def may_leave(self, record: Record) -> bool:
        """Whether the lane of a ready record may leave the memory: not while records of it are being read again."""
        return record.lane is not None and not self.backlog.is_coming(hash_of(record.lane))

    def set_aside(self, records: Iterable[Record]) -> list[Record]:
        """Put the lanes of ready records that `may_leave` aside as a whole; returns all that has left the memory.

        No part holds such a record any more, and no record of its lane is ready until `wake`.
        """
        left: list[Record] = []
        with self._lock:
            for record in records:
                if record.lane is None:
                    continue
                behind = self._remove_lane(record.lane)
                for parked in behind:
                    self.parking.leave(parked)
                of_lane = [record, *behind]
                places = [(one.assignment, one.offset) for one in of_lane]
                self.backlog.put_back(hash_of(record.lane), places)
                left += of_lane
        return left

    @abstractmethod
    def set_parked_aside(self, is_due: Callable[[Record], bool]) -> list[Record]:
        """Put aside all that parks in lanes where any of it is due to go; returns what has left the memory.

        A lane of which records are being read again stays as it is.
        """

    @abstractmethod
    def exchange(self, record: Record, copy: Record) -> None:
        """Know the first record of a lane by its copy from now on; neither is freed meanwhile."""

    def wake(self, lane_hashes: Iterable[int]) -> None:
        """Have the first record of each of these lanes read again; a lane without records aside is passed over."""
        with self._lock:
            for lane_hash in lane_hashes:
                self._wake(lane_hash)

    def holds(self, lane_hash: int) -> bool:
        """Whether records of a lane are aside, or are being read again."""
        with self._lock:
            return self.backlog.holds(lane_hash)

    def _wake(self, lane_hash: int) -> None:
        if lane_hash not in self._idle and self.backlog.holds(lane_hash) and not self.backlog.is_coming(lane_hash):
            self._idle[lane_hash] = None  # its name is not known before the record is here
            self.backlog.want(lane_hash, 1)

    @abstractmethod
    def _remove_lane(self, lane: Lane) -> list[Record]:
        """Forget a lane whose first record is ready; return the records that park behind it, in their order."""

    def readd(self, records: Iterable[Record]) -> list[Record]:
        """Take records that were wanted, and were read again; each lane has its own back in its order.

        The first record of each idle lane becomes ready; the others park in memory. Those that no lane waits for are
        given back.
        """
        ready: list[Record] = []
        unwanted: list[Record] = []
        with self._lock:
            for record in records:
                lane_hash, back = self.backlog.end_coming((record.assignment, record.offset), record)
                if lane_hash is None:
                    unwanted.append(record)
                else:
                    ready += self._bring_back_all(lane_hash, back)
        if ready:
            self._make_ready(ready)
        return unwanted

    def note_gone(self, places: Iterable[Place]) -> set[Place]:
        """Note that records which were wanted are not in the log any more: their lanes go on without them.

        Returns those that a lane has waited for.
        """
        ready: list[Record] = []
        awaited: set[Place] = set()
        with self._lock:
            for place in places:
                lane_hash, back = self.backlog.end_coming(place)
                if lane_hash is None:
                    continue
                awaited.add(place)
                self.lines.note_gone(lane_hash)
                ready += self._bring_back_all(lane_hash, back)
                if lane_hash in self._idle:
                    self._go_on_without(lane_hash)
        if ready:
            self._make_ready(ready)
        return awaited

    def _bring_back_all(self, lane_hash: int, back: Collection[Record]) -> list[Record]:
        if lane_hash in self.lines:
            self.lines.bring_back(lane_hash, back)
            return []
        return [ready for record in back for ready in self._bring_back(lane_hash, record)]

    @abstractmethod
    def _bring_back(self, lane_hash: int, record: Record) -> list[Record]:
        """Take the next record of a lane, which was read again; return the records that become ready."""

    @abstractmethod
    def _go_on_without(self, lane_hash: int) -> None:
        """Have an idle lane wait for its next record, since the one that it waited for is gone."""

    @abstractmethod
    def expect(self, record: Record, outcome: Outcome) -> None:
        """Learn of an outcome before it is written: the job's next record may be here before `finish` is called."""

    @abstractmethod
    def finish(self, record: Record, outcome: Outcome) -> None:
        """Note that a ready record has run, and with what outcome."""

    @abstractmethod
    def note_settled(self, settled: Iterable[SettledRecord]) -> None:
        """Note what has another outcome than success, and is durable by now."""

    @abstractmethod
    def free(self, record: Record) -> None:
        """Let the lane of a ready record go on, since it has run or does not run here: the next one becomes ready."""

    def free_all(self, records: Iterable[Record]) -> None:
        """Do so for several ready records, of different lanes."""
        for record in records:
            self.free(record)

    @abstractmethod
    def drop(self, assignments: Collection[Assignment]) -> list[Record]:
        """Take out the parked records of partitions that are no longer ours; the ready ones are with the runners.

        Those aside are forgotten as well; of them, those that were read again already are returned too.
        """

    def _drop_backlog(self, assignments: Collection[Assignment]) -> tuple[list[Record], list[Record]]:
        """Forget records aside; return the ones that came early, and those of other partitions that become ready."""
        early, back = self.backlog.drop(assignments)
        early += self.lines.drop(assignments, back)
        return early, [ready for lane_hash, record in back for ready in self._bring_back_all(lane_hash, (record,))]

    def take_wanted(self) -> list[Place]:
        """The places of records to be read again, each given once."""
        if not self.backlog.has_wanted:
            return []
        with self._lock:
            return self.backlog.take_wanted()

    def aside(self, places: Collection[Place]) -> dict[Place, int]:
        """The places among these whose records wait aside, each with the hash of its lane.

        It looks at all that is aside, a million records in a second or two, in parts: others need the lock meanwhile.
        """
        found: dict[Place, int] = {}
        for part in self.backlog.parts if self.backlog and places else ():
            with self._lock:
                found.update((place, lane_hash) for place, lane_hash in self.backlog.part(part) if place in places)
        return found

    @abstractmethod
    def parked_records(self) -> list[Record]:
        """The records in memory that wait behind others of their lane."""

    @abstractmethod
    def awaited_source(self, record: Record) -> Source | None:
        """Where the record waits that must come before this one may start; None if there is none."""

    # ---- for the lanes of either kind; the caller holds the lock

    def _put_aside(self, lane: Lane, record: Record) -> None:
        self.backlog.put(hash_of(lane), record.assignment, record.offset)

    def _move_aside(self, lane: Lane, parked: Collection[Record]) -> bool:
        """Put the parked records of a lane aside, ahead of the others; not while records of it are being read."""
        if self.backlog.is_coming(hash_of(lane)):
            return False
        for record in parked:
            self.parking.leave(record)
        self.backlog.put_back(hash_of(lane), [(record.assignment, record.offset) for record in parked])
        return True

    def _want_more(self, lane_hash: int, behind: Collection[Record]) -> None:
        """Want the next records of a lane that has few in memory, as many as there is room for, and one in any case."""
        if len(behind) <= self.parking.lane_part // 2:
            room = self.parking.room(behind, self.backlog.coming)
            if room > 0 or not behind:
                self.backlog.want(lane_hash, max(1, room))
