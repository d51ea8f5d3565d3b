"""`UniqueArrivals`: what unique jobs need of the poll thread: which have come, and which wait in vain."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from confluent_kafka import KafkaError, Message

from ..delays.calendar import Calendar
from ..delays.look_pace import LookPace
from ..partitions.assignments import Assignments
from ..progress.assignment import Assignment, Place
from ..records.record import Record
from ..unique.unique_jobs import UniqueJobs
from .intake import Filter

END_MARGIN_MS: Final = 5_000
"""A record that arrives after the end of the log was seen is later by this than one before, by the brokers' clock."""
PLACES_A_LOOK: Final = 10_000
"""Replaced records that one look brings forward, at most: they take some 60 ms beside the look itself."""

FindEnd = Callable[[Assignment], int]
"""Finds where the log of an assignment ends, with all that open transactions hold back, as far as its client knows."""


class UniqueArrivals(Filter):
    """The arrivals of jobs in one queue that has unique ones; owned by the poll thread."""

    def __init__(self, assignments: Assignments, calendar: Calendar, find_end: FindEnd) -> None:
        self._assignments, self._ledgers = assignments, assignments.ledgers
        self._find_end = find_end
        self._calendar = calendar
        self._pace = LookPace()
        self._reads_jobs = any(unique.replaces for unique in assignments.queue.unique.values())

    def let_pass(self, messages: Iterable[Message]) -> Iterator[Message]:
        """Pass messages on, and note those that were published, and those of the carried topic."""
        for message in messages:
            assignment = self._assignments.find_running(message.topic(), message.partition())
            unique = None if assignment is None else self._ledgers.find_unique(assignment.partition)
            if assignment is not None and unique is not None and not assignment.source.is_delayed:
                self._note(message, assignment, unique)
            yield message

    def _note(self, message: Message, assignment: Assignment, unique: UniqueJobs) -> None:
        error, offset = message.error(), message.offset() or 0
        if error is not None:
            if error.code() == KafkaError._PARTITION_EOF and assignment.source.is_entry:
                self._note_end(assignment, offset, unique)
            return
        if assignment.source.is_entry:
            unique.note_read(assignment.source, offset + 1, message.timestamp()[1])
        if self._reads_jobs:
            record = Record(message, assignment)
            ledger = self._ledgers.present[assignment.partition]
            if not ledger.remembers(record):
                unique.note_arrival(record)

    def _note_end(self, assignment: Assignment, offset: int, unique: UniqueJobs) -> None:
        """Note that all has been read; the client also reports an end before an open transaction, and that is none."""
        if self._find_end(assignment) <= offset:
            unique.note_read(assignment.source, offset, round(time.time() * 1_000) - END_MARGIN_MS)

    # ---- what waits until it is due

    def note_waiting(self, message: Message, assignment: Assignment) -> bool:
        """Note where a record that comes is to wait; True where it is replaced already, so that it ends at once."""
        unique = self._ledgers.find_unique(assignment.partition) if self._reads_jobs else None
        return unique is not None and unique.note_waiting(Record(message, assignment))

    def note_gone(self, lost: Iterable[tuple[Assignment, int]]) -> None:
        """Note that the brokers have deleted these records: jobs that were to come from there hold nothing any more."""
        for partition in {assignment.partition for assignment, _ in lost}:
            unique = self._ledgers.find_unique(partition)
            if unique is not None:
                unique.note_gone()

    def bring_forward(self) -> None:
        """Have records read again at once that were replaced while they wait; what is left follows in later turns."""
        if self._pace.is_rested and (places := self._take_replaced()):
            with self._pace.look():
                self._calendar.bring_forward(places)

    def _take_replaced(self) -> list[Place]:
        """Take replaced places, so many at the most; a partition that has gone, or went back, needs none any more."""
        places: list[Place] = []
        for unique in self._ledgers.all_unique():
            while len(places) < PLACES_A_LOOK and (place := unique.take_replaced()) is not None:
                if place[0].is_current:
                    places.append(place)
        return places
