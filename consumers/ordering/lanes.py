"""`Lanes`: decides which records may run now. A lane is what runs one at a time, in its order: the records of one key.

| queue                      | its lanes     | the next record of a lane starts                        |
|----------------------------|---------------|---------------------------------------------------------|
| `ordering="key"`, `"none"` | `KeyLanes`    | when the one before has run                             |
| `ordering="strict"`        | `StrictLanes` | when the job before is done, cancelled or a dead letter |

The first record of an idle lane is *ready*. So whatever is ready at a time belongs to different lanes, and runners may
take ready records in any order, and from each other, without a lock per key.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import timedelta
from threading import Lock
from typing import Protocol

from ..records.assignment import Assignment, Awaited, Lane
from ..records.outcomes import Outcome
from ..records.record import Record

MakeReady = Callable[[list[Record]], None]


class SettledRecord(Protocol):
    """What lanes read of a settled record: which outcome was given up in favour of another, if any."""

    @property
    def record(self) -> Record:
        """The record that was settled."""

    @property
    def instead_of(self) -> Outcome | None:
        """The outcome that could not be written; None where the first one was."""


class Lanes(ABC):
    """The lanes of one queue; safe to call from all threads.

    `parked` counts the records that wait behind others of their lane.
    """

    def __init__(self, make_ready: MakeReady) -> None:
        self._make_ready = make_ready
        self._lock = Lock()
        self.parked = 0

    @abstractmethod
    def begin(self, awaited: Mapping[Lane, Collection[Awaited]]) -> None:
        """Learn what the tiers of a partition hold; called before anything of the partition is added."""

    @abstractmethod
    def add(self, records: Iterable[Record]) -> None:
        """Take records in the order of delivery; the first of each idle lane becomes ready."""

    @abstractmethod
    def expect(self, record: Record, outcome: Outcome) -> None:
        """Learn of an outcome before it is written: the job's next record may be here before `finish` is called."""

    @abstractmethod
    def finish(self, record: Record, outcome: Outcome) -> None:
        """Note that a ready record has run, and with what outcome."""

    @abstractmethod
    def note_settled(self, settled: Iterable[SettledRecord]) -> None:
        """Note what has another outcome than success, and is durable by now."""

    @abstractmethod
    def release(self, record: Record) -> None:
        """Note that a ready record does not run here; the next one of its lane becomes ready."""

    def release_all(self, records: Iterable[Record]) -> None:
        """Note that the jobs of several ready records are done."""
        for record in records:
            self.release(record)

    @abstractmethod
    def drop(self, assignments: Collection[Assignment]) -> list[Record]:
        """Take out the parked records of partitions that are no longer ours; the ready ones are with the runners."""

    @abstractmethod
    def parked_records(self) -> list[Record]:
        """The records that wait behind others of their lane."""

    @abstractmethod
    def awaited_tier(self, record: Record) -> timedelta | None:
        """The tier from which a record is awaited before this one may start; None where none is."""
