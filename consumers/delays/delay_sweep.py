"""`DelaySweep`: reads delayed records again that the calendar knows by their offsets alone, to find cancelled ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from confluent_kafka import Message

from ..backlog.requester import Wanted
from ..progress.assignment import Assignment
from ..records.record import Record
from .calendar import Calendar

AT_ONCE: Final = 5_000
"""Records that are read, and held where they are cancelled, at a time: some megabytes."""


class DelaySweep:
    """Goes once over what is known when it begins, in the order of the log. Falsy where there is nothing to look at.

    The calendar goes on knowing what is being looked at, so no record is due late by that, or lost if its partition
    goes away. Owned by the poll thread.
    """

    def __init__(self, calendar: Calendar, is_cancelled: Callable[[Record], bool]) -> None:
        self._calendar, self._is_cancelled = calendar, is_cancelled
        self._left: Wanted = {}
        self._asked: dict[Assignment, set[int]] = {}
        self._found: list[Record] = []

    def __bool__(self) -> bool:
        return bool(self._left or self._asked or self._found)

    def begin(self) -> None:
        """Begin with all records known by offset at this moment; a million take a second."""
        self._left = self._calendar.known_offsets()

    def take_wanted(self) -> Wanted:
        """Take the offsets to read now: none while the last part is not done, or records that are due soon are read."""
        if not self._left or self._asked or self._found or self._calendar.is_behind:
            return {}
        assignment, offsets = next(iter(self._left.items()))
        wanted = offsets[:AT_ONCE]
        del offsets[:AT_ONCE]
        if not offsets:
            del self._left[assignment]
        self._asked[assignment] = set(wanted)
        return {assignment: wanted}

    def note_read(self, assignment: Assignment, message: Message) -> bool:
        """Look at a record that was read again; False if the sweep has not asked for it."""
        if not self.note_gone(assignment, message.offset() or 0):
            return False
        record = Record(message, assignment)
        if self._is_cancelled(record):
            self._found.append(record)
        return True

    def note_gone(self, assignment: Assignment, offset: int) -> bool:
        """Stop waiting for a record; False if the sweep did not wait for it."""
        offsets = self._asked.get(assignment, ())
        if offset not in offsets:
            return False
        self._asked[assignment].remove(offset)
        if not self._asked[assignment]:
            del self._asked[assignment]
        return True

    def take_found(self, most: int) -> list[Record]:
        """Take cancelled records out of the calendar, so many at the most; those that are not there by now are left."""
        self._let_go_of_leaving()
        found, self._found = self._found[:most], self._found[most:]
        return self._calendar.take_known(found) if found else found

    def _let_go_of_leaving(self) -> None:
        self._left = {a: offsets for a, offsets in self._left.items() if a.is_current}
        self._asked = {a: offsets for a, offsets in self._asked.items() if a.is_current}
        self._found = [record for record in self._found if record.assignment.is_current]
