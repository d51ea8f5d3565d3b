"""`CarriedRecords`: what the carrier needs of the intake: copies that come, restored jobs in step, records to copy."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

from confluent_kafka import Message

from ..backlog.requester import Requester, RereadBatch
from ..carrying.carrier import Carrier
from ..carrying.restored_jobs import RestoredJobs
from ..partitions.assignments import Assignments
from ..progress.assignment import Assignment, Place
from ..records.record import Record
from .handover import Handover
from .intake import each_let_go


class CarriedRecords(Requester):
    """The carried records of one queue at its intake; owned by the poll thread."""

    def __init__(self, carrier: Carrier, restored: RestoredJobs, assignments: Assignments, handover: Handover) -> None:
        self._carrier = carrier
        self._restored = restored
        self._assignments = assignments
        self._handover = handover

    def in_step(self, fetched: list[Message]) -> Iterable[list[Message]]:
        """Yield the fetched messages, and put restored jobs into their lanes between them; empties the list."""
        if not (self._restored and self._restored.are_due(fetched)):
            return (fetched,)
        return self._one_by_one(fetched)

    def _one_by_one(self, fetched: list[Message]) -> Iterator[list[Message]]:
        for message in each_let_go(fetched):
            if self._assignments.find_running(message.topic(), message.partition()) is not None:
                self._restored.put_up_to(message)
            yield [message]

    def take(self, message: Message, assignment: Assignment) -> Record | None:
        """Let a copy take the place of its record; returns it, if it is to run as any other."""
        copy = Record(message, assignment)
        left = self._carrier.take(copy)
        if left is None:
            return None if self._restored.put_in(copy) else copy
        if left:
            self._handover.exchange(copy, left)
        return None

    def turn(self) -> None:
        """Let the carrier work for a moment; old records leave the memory."""
        self._handover.leave(self._carrier.turn())

    # ---- read again

    def take_reread(self, found: RereadBatch) -> Sequence[Record]:
        """Let the carrier copy the records that it has asked for; other requesters take them afterwards."""
        self._carrier.take_reread(found.left)
        return ()

    def note_gone(self, gone: Collection[Place]) -> Collection[Place]:
        """Copy these no more; a lane that waits for one of them finds that out itself."""
        self._carrier.note_gone(gone)
        return ()
