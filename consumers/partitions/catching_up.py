"""`CatchingUp`: passes over records that an owner before has completed, and that are delivered again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from confluent_kafka import Message

from ..progress.assignment import Assignment
from .fetch_order import Find


class CatchingUp:
    """The assignments that begin with records of which some are complete; owned by the poll thread.

    Attributes:
        assignments: those that have not yet passed all that was complete as they began.
    """

    def __init__(self, find: Find) -> None:
        self._find = find
        self.assignments: set[Assignment] = set()

    def begin(self, assignment: Assignment) -> None:
        """Note an assignment that begins, if records of it were complete before."""
        if assignment.progress.is_catching_up:
            self.assignments.add(assignment)

    def without_complete(self, messages: Iterable[Message]) -> Iterator[Message]:
        """Leave out the records that an owner before has completed; each is looked at when those before are taken."""
        for message in messages:
            assignment, offset = self._find(message.topic(), message.partition()), message.offset()
            is_catching_up = assignment in self.assignments and message.error() is None
            if not (
                is_catching_up and assignment is not None and offset is not None and _pass_over(assignment, offset)
            ):
                yield message
        self.assignments = {a for a in self.assignments if a.is_current and a.progress.is_catching_up}


def _pass_over(assignment: Assignment, offset: int) -> bool:
    """Whether a record was complete before; of a partition that is given away, nothing more is noted.

    There, records that are not complete are left out, and the next commit must not name them as complete.
    """
    return assignment.is_running and assignment.progress.pass_over(offset)
