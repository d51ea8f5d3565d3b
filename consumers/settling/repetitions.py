"""`Repetitions`: holds a skipped record back until what follows its job is durable.

A worker skips a record whose job it has done, or whose attempt has failed, from memory, before the settlement of that
is durable. Mostly that is safe: the record that was settled first stays incomplete, and is delivered again after a
crash. It is not where both are one record: its partition went away and came back meanwhile, or its offsets went back.
Then a commit would pass it, and a crash would lose the records that follow the job, such as its retry.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..partitions.ledger import tried_name
from ..records.outcomes import Outcome, Skipped
from ..records.record import Record
from .settlement import Settlement
from .writes import ledger_entry

_Name = tuple[int, str]
"""Partition, and the name that its ledger has once the record is settled: of the job, or of an attempt of it."""


class Repetitions:
    """The held records of one queue; owned by the settling thread. Where no records follow jobs it holds none.

    What is awaited is a record, not its settlement: another one may be settled in its place, such as a dead letter that
    no tier takes as a retry.
    """

    def __init__(self) -> None:
        self._pending: dict[_Name, Record] = {}
        self._name_of: dict[Record, _Name] = {}
        self._held: dict[Record, list[Settlement]] = {}
        self._freed: list[Settlement] = []

    def __len__(self) -> int:
        """How many records are held, or freed and not yet taken."""
        return sum(map(len, self._held.values())) + len(self._freed)

    def count_behind(self, stranded: Iterable[Record]) -> int:
        """How many are held until one of these is settled."""
        return sum(len(self._held.get(record, ())) for record in stranded) if self._held else 0

    def hold_back(self, item: Settlement) -> bool:
        """Hold back an item that repeats what is not settled yet, its job or its attempt; False where it goes on.

        One with records is noted: what repeats it is held back from now on.
        """
        if item.writes.records:
            self.note_pending(item.record, item.outcome)
            return False
        if not self._pending or not isinstance(item.outcome, Skipped):
            return False
        awaited = self._awaited_by(item.record)
        if awaited is not None:
            self._held.setdefault(awaited, []).append(item)
        return awaited is not None

    def note_pending(self, record: Record, outcome: Outcome) -> None:
        """Have records that repeat this one wait until it is settled; harmless when repeated."""
        entry = ledger_entry(record, outcome)
        if entry is None:
            return
        name = record.assignment.partition, entry[0]
        self._pending[name] = record
        self._name_of[record] = name

    def _awaited_by(self, skipped: Record) -> Record | None:
        """The pending record of the same job, or of the same attempt of it."""
        partition = skipped.assignment.partition
        of_attempt = self._pending.get((partition, tried_name(skipped)))
        if of_attempt is not None or skipped.deduplication_id is None:
            return of_attempt
        return self._pending.get((partition, skipped.deduplication_id))

    def note_settled(self, items: Iterable[Settlement]) -> None:
        """Free what waits for these."""
        if self._name_of:
            for item in items:
                self._forget(item.record)

    def _forget(self, settled: Record) -> None:
        name = self._name_of.pop(settled, None)
        if name is not None and self._pending.get(name) is settled:
            del self._pending[name]
        self._freed += self._held.pop(settled, ())

    def take_freed(self) -> list[Settlement]:
        """Take out the records whose jobs are settled."""
        released, self._freed = self._freed, []
        return released
