"""`CancelledDelays`: brings delayed records forward whose jobs are cancelled, so that these end soon."""

from __future__ import annotations

from typing import Final

from confluent_kafka import Message

from ..records.assignment import Assignment
from ..records.cancels import NO_CANCELS, Cancels
from ..records.record import Record
from .calendar import Calendar

LOOKED_AT: Final = 1_000
"""Records in a turn of the poll thread; some 6 ms."""


class CancelledDelays:
    """Looks at the records that come, and with each new cancel at those that the calendar has in memory.

    What the calendar knows by its offset alone ends when it is due. Owned by the poll thread. Falsy where there is
    nothing to look at.
    """

    def __init__(self, calendar: Calendar, cancels: Cancels = NO_CANCELS, queue: str = "") -> None:
        self._calendar, self._cancels, self._queue = calendar, cancels, queue
        self._seen = 0
        self._seconds: list[int] = []

    def __bool__(self) -> bool:
        return bool(self._seconds) or self._seen != self._cancels.begun

    def has(self, message: Message, assignment: Assignment) -> bool:
        """Whether a delayed record that comes is not to wait."""
        return self._cancels.stands and self._cancels.has(Record(message, assignment), self._queue)

    def turn(self, most: int) -> list[Record]:
        """Look at some; gives those that are not to wait any more, so many at the most."""
        if not self._seconds:
            self._seen, self._seconds = self._cancels.begun, self._calendar.seconds
        found: list[Record] = []
        looked_at = 0
        while self._seconds and looked_at < LOOKED_AT and len(found) < most:
            taken, count = self._calendar.take_out(self._seconds[-1], self._is_cancelled, most - len(found))
            found += taken
            looked_at += count
            if len(found) < most:
                self._seconds.pop()
        return found

    def _is_cancelled(self, record: Record) -> bool:
        return self._cancels.has(record, self._queue)
