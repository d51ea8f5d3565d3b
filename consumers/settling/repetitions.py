"""`Repetitions`: holds a skipped record back until what follows its job is durable.

A worker skips a record whose job it has done, from memory, before the job's settlement is durable. Mostly that is safe:
the job's own record stays incomplete, and is delivered again after a crash. It is not where both are one record, whose
partition went away and came back meanwhile. Then a commit would pass it, and a crash would lose the records that follow
the job.
"""

from __future__ import annotations

from ..records.outcomes import Skipped, is_lasting
from .settlement import SETTLED, Settlement

_Job = tuple[int, str | None]


class Repetitions:
    """The held records of one queue; owned by the settling thread. Where no records follow jobs it holds none."""

    def __init__(self) -> None:
        self._pending: dict[_Job, Settlement] = {}
        self._held: list[tuple[Settlement, Settlement]] = []

    def __len__(self) -> int:
        """How many records are held."""
        return len(self._held)

    def holds(self, item: Settlement) -> bool:
        """Whether the item waits here for the settlement of its job."""
        if not self._pending and not item.writes.records:
            return False
        job = item.record.assignment.partition, item.record.deduplication_id
        if item.writes.records and is_lasting(item.outcome):
            self._pending.setdefault(job, item)
        if not isinstance(item.outcome, Skipped) or job not in self._pending:
            return False
        self._held.append((item, self._pending[job]))
        return True

    def release(self) -> list[Settlement]:
        """Take out the records whose jobs are settled."""
        if not self._pending:
            return []
        self._pending = {job: item for job, item in self._pending.items() if item.stage is not SETTLED}
        released = [item for item, awaited in self._held if awaited.stage is SETTLED]
        self._held = [(item, awaited) for item, awaited in self._held if awaited.stage is not SETTLED]
        return released
