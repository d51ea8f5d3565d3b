"""`LaneRecords`: what lanes need of the intake: records behind those that are aside, and those that are read again."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from confluent_kafka import Message

from ..backlog.lane_backlog import LAST_MARK, offsets_by_assignment
from ..backlog.requester import Requester, RereadBatch, Wanted
from ..dispatch.unbegun_records import UnbegunRecords
from ..in_flight.memory_bounds import MemoryBounds
from ..ordering.lanes import Lanes
from ..progress.assignment import Assignment, Place
from ..records.record import Record
from .handover import Handover
from .intake import Diverter


class LaneRecords(Diverter, Requester):
    """The lanes of one queue at its intake; owned by the poll thread."""

    def __init__(self, lanes: Lanes, unbegun: UnbegunRecords, memory_bounds: MemoryBounds, handover: Handover) -> None:
        self._lanes, self._unbegun = lanes, unbegun
        self._memory_bounds = memory_bounds
        self._handover = handover
        self._marks, self._add_unread = lanes.backlog.marks, lanes.add_unread
        self.asked_while = lanes.backlog.indexes

    def divert(self, message: Message, assignment: Assignment) -> bool:
        """Put a record aside, unread, where others of its key are: so a long backlog of one key costs little."""
        key = message.key()
        if key is None or not self._marks[hash(key) & LAST_MARK]:
            return False
        return assignment.keeps_order and self._add_unread(key, assignment, message.offset() or 0)

    # ---- lanes that leave the memory as a whole

    def set_aside(self) -> None:
        """Move lanes out of memory that gates hold back beyond their bound."""
        self._handover.leave(self._unbegun.set_aside())

    def wake(self) -> None:
        """Take lanes back that gates hold back no more."""
        if self._unbegun.has_released:
            self._unbegun.wake(self._memory_bounds.room)

    # ---- read again

    @property
    def has_wanted(self) -> bool:
        """Whether lanes want records, or are to be taken back."""
        return self._lanes.backlog.has_wanted or self._unbegun.has_released

    def take_wanted(self) -> Wanted:
        """The next records of lanes that have few in memory."""
        return offsets_by_assignment(self._lanes.take_wanted())

    def take_reread(self, found: RereadBatch) -> Sequence[Record]:
        """Bring all that is left back to the lanes, which drop what they do not want."""
        wanted: list[Record] = []
        looked_at: list[Record] = []
        for assignment, message in found.left:
            record = Record(message, assignment)
            is_looked_at = bool(found.looked_at) and (assignment, record.offset) in found.looked_at
            (looked_at if is_looked_at else wanted).append(record)
        found.left = []
        self._handover.bring_back(wanted, looked_at)
        return ()

    def note_gone(self, gone: Collection[Place]) -> Collection[Place]:
        """Let lanes go on without the records that they have waited for."""
        return self._lanes.note_gone(gone)
