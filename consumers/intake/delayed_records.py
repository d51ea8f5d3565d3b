"""`DelayedRecords`: what the calendar needs of the intake: records that come, are due, and are read again."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from typing import Final

from confluent_kafka import Message

from ..backlog.requester import Requester, RereadBatch, Wanted
from ..delays.calendar import Calendar
from ..in_flight.memory_bounds import MemoryBounds
from ..progress.assignment import Assignment, Place
from ..records.record import Record

DUE_AT_ONCE: Final = 1_000
"""Jobs due at one moment that are taken at a time: the first ones run while the poll thread takes the others."""
EndsWait = Callable[[Message, Assignment], bool]
"""Looks at a delayed record that comes; True where it is not to wait until it is due, since it ends at once."""


class DelayedRecords(Requester):
    """The delayed records of one queue at its intake; owned by the poll thread."""

    def __init__(
        self, calendar: Calendar, memory_bounds: MemoryBounds, *, ends_wait: Sequence[EndsWait] = (), room_part: int = 1
    ) -> None:
        """Begin without records.

        Args:
            ends_wait: called in their order with each record that comes, until one returns True.
            room_part: jobs that are due take so small a part of the room: a half is 2.
        """
        self._calendar = calendar
        self._memory_bounds = memory_bounds
        self._ends_wait = tuple(ends_wait)
        self._room_part = room_part

    def take(self, message: Message, assignment: Assignment) -> Record | None:
        """Let a record wait in the calendar, or return it, if it is not to wait."""
        for ends_wait in self._ends_wait:
            if ends_wait(message, assignment):
                return Record(message, assignment)
        self._calendar.add(message, assignment)
        return None

    def pop_due(self) -> Sequence[Record]:
        """Take those out whose time has come, as far as there is room."""
        room = self._memory_bounds.due_room // self._room_part
        return self._calendar.pop_due(time.time(), min(DUE_AT_ONCE, room))

    # ---- read again

    @property
    def is_behind(self) -> bool:
        """Whether records that are being read again may be due soon."""
        return self._calendar.is_behind

    def take_wanted(self) -> Wanted:
        """The next ones that are to be in memory."""
        return self._calendar.take_wanted()

    def take_reread(self, found: RereadBatch) -> Sequence[Record]:
        """Let those wait on that the calendar wanted; it does not take a due one that its lane wanted."""
        take = self._calendar.take_reread
        found.left = [(a, message) for a, message in found.left if not (a.source.is_delayed and take(a, message))]
        return ()

    def note_gone(self, gone: Collection[Place]) -> Collection[Place]:
        """Wait for these no more."""
        return [place for place in gone if self._calendar.note_gone(*place)]
