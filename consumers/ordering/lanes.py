"""`Lanes`: decides which records may run now. A lane is what runs one at a time, in its order: the records of one key.

| queue                      | its lanes     | the next record of a lane starts                        |
|----------------------------|---------------|---------------------------------------------------------|
| `ordering="key"`, `"none"` | `KeyLanes`    | when the one before has run                             |
| `ordering="strict"`        | `StrictLanes` | when the job before is done, cancelled or a dead letter |

The first record of an idle lane is *ready*. So whatever is ready at a time belongs to different lanes, and runners may
take ready records in any order, and from each other, without a lock per key.

The others *park* behind it: a few in memory, all further ones *aside*, by their offset (`backlog/`). When half of those
in memory have run, the lane wants the next ones; the poll thread reads them again, and `readd` brings them back.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Container, Iterable, Mapping
from threading import Lock
from typing import Protocol

from ..backlog.lane_backlog import LaneBacklog, Place
from ..records.assignment import Assignment, Awaited, Lane
from ..records.outcomes import Outcome
from ..records.record import Record
from ..records.source import Source
from .parking import Parking, ParkingLimits

MakeReady = Callable[[list[Record]], None]


class SettledRecord(Protocol):
    """What lanes read of a settled record: which outcome was given up in favour of another, if any."""

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
        backlog: those that wait aside, by their offset; guarded by the lock, but for the question whether any does.
    """

    def __init__(self, make_ready: MakeReady, limits: ParkingLimits) -> None:
        self._make_ready = make_ready
        self._lock = Lock()
        self._idle: dict[int, Lane] = {}
        self.parking = Parking(limits)
        self.backlog = LaneBacklog()

    @property
    def waiting(self) -> int:
        """How many records wait behind others of their lane, wherever they are."""
        return self.parking.count + len(self.backlog)

    @abstractmethod
    def begin(self, awaited: Mapping[Lane, Collection[Awaited]]) -> None:
        """Learn what tiers and delays hold of a partition; called before anything of the partition is added."""

    @abstractmethod
    def add(self, records: Iterable[Record]) -> list[Record]:
        """Take records in the order of delivery; the first of each idle lane becomes ready.

        Those returned are aside: they are not in memory any more as soon as the caller lets them go.
        """

    def add_unread(self, lane: Lane, assignment: Assignment, offset: int) -> bool:
        """Put a record aside that was not looked at yet; False where its lane has none aside, and it must be added."""
        backlog = self.backlog
        with self._lock:
            if not backlog.holds(lane):
                return False
            backlog.put(lane, assignment, offset)
        return True

    @abstractmethod
    def readd(self, records: Iterable[Record]) -> None:
        """Take records that were wanted, and were read again."""

    @abstractmethod
    def note_gone(self, places: Iterable[Place]) -> None:
        """Note that records which were wanted are not in the log any more: their lanes go on without them."""

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
    def release(self, record: Record) -> None:
        """Note that a ready record does not run here; the next one of its lane becomes ready."""

    def release_all(self, records: Iterable[Record]) -> None:
        """Note that the jobs of several ready records are done."""
        for record in records:
            self.release(record)

    @abstractmethod
    def drop(self, assignments: Collection[Assignment]) -> list[Record]:
        """Take out the parked records of partitions that are no longer ours; the ready ones are with the runners.

        Those aside are forgotten as well, and not returned.
        """

    def take_wanted(self) -> list[Place]:
        """The places of records to be read again, each given once."""
        if not self.backlog.has_wanted:
            return []
        with self._lock:
            return self.backlog.take_wanted()

    # ---- for the lanes of either kind; the caller holds the lock

    def _park(self, lane: Lane, record: Record, behind: Collection[Record]) -> bool:
        """Note that a record parks behind these of its lane; False where it was put aside."""
        parking, backlog = self.parking, self.backlog
        if parking.is_full or len(behind) >= parking.lane_share or (backlog and backlog.holds(lane)):
            backlog.put(lane, record.assignment, record.offset)
            return False
        parking.add(record)
        return True

    def _want_more(self, lane: Lane, behind: Collection[Record]) -> None:
        """Want the next records of a lane that has few in memory, as many as there is room for, and one in any case."""
        if len(behind) <= self.parking.lane_share // 2:
            room = self.parking.room(behind, self.backlog.coming)
            if room > 0 or not behind:
                self.backlog.want(lane, max(1, room))

    def aside(self, places: Container[Place]) -> set[Place]:
        """Those of these places whose records wait aside; it looks at all of these, which takes a while."""
        if not self.backlog:
            return set()
        with self._lock:
            return {place for place in self.backlog.places() if place in places}

    @abstractmethod
    def awaited_source(self, record: Record) -> Source | None:
        """Where a record waits that is to come before this one may start; None where there is none."""
