"""`CancelledDelays`: brings delayed records forward whose jobs are cancelled, so that these end soon."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from confluent_kafka import Message

from ..backlog.requester import Requester, RereadBatch, Wanted
from ..progress.assignment import Assignment, Place
from ..records.record import Record
from ..standing_orders.cancels import NO_CANCELS, Cancels
from .calendar import Calendar
from .delay_sweep import DelaySweep

LOOKED_AT: Final = 1_000
"""Records in a turn of the poll thread; some 6 ms."""


class CancelledDelays(Requester):
    """Looks at the records that come, and with each new cancel at those that the calendar has in memory.

    What the calendar knows by its offset alone is looked at for filters, of which each may mean all of it. Jobs that
    are cancelled by their ids end when they come into memory: to read a million records for one would cost too much.
    Owned by the poll thread. Falsy where there is nothing to look at.
    """

    def __init__(self, calendar: Calendar, cancels: Cancels = NO_CANCELS, queue: str = "") -> None:
        self._calendar, self._cancels, self._queue = calendar, cancels, queue
        self._seen = self._filters_seen = 0
        self._ticks: list[int] = []
        self._sweep = DelaySweep(calendar, self._is_cancelled)

    def __bool__(self) -> bool:
        return bool(self._ticks) or self._seen != self._cancels.begun or bool(self._sweep)

    def has(self, message: Message, assignment: Assignment) -> bool:
        """Whether a delayed record that comes is not to wait."""
        return self._cancels.stands and self._cancels.has(Record(message, assignment), self._queue)

    def look_at(self, assignment: Assignment, message: Message) -> bool:
        """Look at a record that was read again, where that was wanted here; perhaps it was wanted elsewhere as well."""
        return bool(self._sweep) and self._sweep.note_read(assignment, message)

    def take_out(self, assignment: Assignment, message: Message) -> bool:
        """Take a record that was read again out of the calendar; whether it is not to wait there any more."""
        if not (assignment.source.is_delayed and self.has(message, assignment)):
            return False
        return self._calendar.note_gone(assignment, message.offset() or 0)

    def take_reread(self, found: RereadBatch) -> Sequence[Record]:
        """Look at those that were wanted for that, and take out those that are not to wait in the calendar any more."""
        cancelled: list[Record] = []
        left: list[tuple[Assignment, Message]] = []
        for assignment, message in found.left:
            if self.look_at(assignment, message):
                found.looked_at.add((assignment, message.offset() or 0))
            if self.take_out(assignment, message):
                cancelled.append(Record(message, assignment))
            else:
                left.append((assignment, message))
        found.left = left
        return cancelled

    def note_gone(self, gone: Collection[Place]) -> Collection[Place]:
        """Note that records cannot be read again; the calendar finds that out itself."""
        if self._sweep:
            for place in gone:
                self._sweep.note_gone(*place)
        return ()

    def take_wanted(self) -> Wanted:
        """The records that are to be read again now, to be looked at."""
        return self._sweep.take_wanted() if self._sweep else {}

    def turn(self, most: int) -> list[Record]:
        """Look at some; returns those that are not to wait any more, so many at the most."""
        if not self._ticks and self._seen != self._cancels.begun:
            self._begin()
        found = self._turn_in_memory(most)
        return found + self._sweep.take_found(most - len(found)) if self._sweep else found

    def _begin(self) -> None:
        self._seen, self._ticks = self._cancels.begun, self._calendar.ticks
        if self._filters_seen != self._cancels.filters_begun:
            self._filters_seen = self._cancels.filters_begun
            self._sweep.begin()

    def _turn_in_memory(self, most: int) -> list[Record]:
        found: list[Record] = []
        looked_at = 0
        while self._ticks and looked_at < LOOKED_AT and len(found) < most:
            taken, count = self._calendar.take_out(self._ticks[-1], self._is_cancelled, most - len(found))
            found += taken
            looked_at += count
            if len(found) < most:
                self._ticks.pop()
        return found

    def _is_cancelled(self, record: Record) -> bool:
        return self._cancels.has(record, self._queue)
