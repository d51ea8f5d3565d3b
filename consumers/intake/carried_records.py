"""`CarriedRecords`: what the carrier needs of the intake: copies that come, restored jobs in step, records to copy."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

from confluent_kafka import Message

from ..carrying.carrier import Carrier
from ..partitions.assignments import Assignments
from ..records.assignment import Assignment, Place
from ..records.record import Record
from .handover import Handover
from .intake import each_let_go
from .reread_records import Found, Requester

PutBehind = Callable[[Record], bool]
"""Puts a copy that takes no record's place aside behind others; False where none are there that it must not pass."""


class CarriedRecords(Requester):
    """The carried records of one queue at its intake; owned by the poll thread."""

    def __init__(
        self, carrier: Carrier, assignments: Assignments, handover: Handover, *, put_behind: Sequence[PutBehind] = ()
    ) -> None:
        """Begin without records.

        Args:
            put_behind: asked in their order, until one has put the copy aside.
        """
        self._carrier = carrier
        self._restored = carrier.restored
        self._assignments = assignments
        self._handover = handover
        self._put_behind = (carrier.restored.put_in, *put_behind)

    def in_step(self, fetched: list[Message]) -> Iterable[list[Message]]:
        """Split what was fetched where restored jobs go to their lanes between its records; empties the list."""
        if not (self._restored and self._restored.are_due(fetched)):
            return (fetched,)
        return self._one_by_one(fetched)

    def _one_by_one(self, fetched: list[Message]) -> Iterator[list[Message]]:
        for message in each_let_go(fetched):
            if self._assignments.find_running(message.topic(), message.partition()) is not None:
                self._restored.put_up_to(message)
            yield [message]

    def take(self, message: Message, assignment: Assignment) -> Record | None:
        """Let a copy take the place of its record; gives it, if it is to run as any other."""
        copy = Record(message, assignment)
        left = self._carrier.take(copy)
        if left is None:
            return None if any(put_behind(copy) for put_behind in self._put_behind) else copy
        if left:
            self._handover.exchange(copy, left)
        return None

    def turn(self) -> None:
        """Go on for a moment; what is old leaves the memory by that."""
        self._handover.leave(self._carrier.turn())

    # ---- read again

    def take_reread(self, found: Found) -> Sequence[Record]:
        """Copy what is to be copied; whoever else wants it takes it after that."""
        self._carrier.take_reread(found.left)
        return ()

    def note_gone(self, gone: Collection[Place]) -> Collection[Place]:
        """Copy these no more; a lane that waits for one of them finds that out itself."""
        self._carrier.note_gone(gone)
        return ()
