"""`SimAges`: how old the records of the simulated brokers are."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from simulation.brokers import SimBrokers
from stoker.consumers.carrying.old_offsets import ALL, AgeSource, Offsets
from stoker.consumers.records.assignment import Assignment


@dataclass
class SimAges(AgeSource):
    """Answers at once, and gives the answer when it is taken."""

    brokers: SimBrokers
    answer: Offsets | None = None

    def ask(self, assignments: Collection[Assignment], before_ms: int) -> None:
        """Find out."""
        self.answer = {a: self._first_since(a, before_ms) for a in assignments}

    def _first_since(self, assignment: Assignment, before_ms: int) -> int:
        records = self.brokers.logs[assignment.topic, assignment.partition].records
        return min((o for o, record in records.items() if record.timestamp()[1] >= before_ms), default=ALL)

    def take(self) -> Offsets | None:
        """The answer."""
        answer, self.answer = self.answer, None
        return answer
