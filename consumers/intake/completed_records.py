"""`CompletedRecords`: leaves out the records that an owner before has completed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from confluent_kafka import Message

from ..partitions.assignments import Assignments
from .intake import Filter


class CompletedRecords(Filter):
    """The records of one queue that need not be looked at; owned by the poll thread."""

    def __init__(self, assignments: Assignments) -> None:
        self._catching_up = assignments.catching_up

    @property
    def is_on(self) -> bool:
        """Whether any assignment has not yet passed all that was complete as it began."""
        return bool(self._catching_up.assignments)

    def let_pass(self, messages: Iterable[Message]) -> Iterator[Message]:
        """Yield those that were not complete before."""
        return self._catching_up.without_complete(messages)
