"""`CountingInstrument`: how often each record came to each seam; `FaultyInstrument`: raises at each of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from stoker.consumers.instruments.instrument import Instrument
from stoker.consumers.job.context import JobContext
from stoker.consumers.records.outcomes import Outcome
from stoker.consumers.records.record import Record
from stoker.producers import Receipt
from stoker.topology.declaration.job_type import JobCall

SEAMS: Final = ("taken", "begun", "decided", "settled", "committed")


class CountingInstrument(Instrument):
    """Counts by the places of records, since a test's jobs may have equal ids."""

    def __init__(self) -> None:
        self.takings: Counter[str] = Counter()
        self.beginnings: Counter[str] = Counter()
        self.jobs: list[JobContext] = []
        self.receipts: dict[Receipt, JobCall] = {}
        self.decisions: Counter[tuple[str, str]] = Counter()
        self.settlements: Counter[tuple[str, str]] = Counter()
        self.offsets: dict[tuple[str, int], int] = {}

    def enqueued(self, call: JobCall, receipt: Receipt) -> None:
        """Keep it."""
        assert receipt not in self.receipts
        self.receipts[receipt] = call

    def taken(self, records: Sequence[Record]) -> None:
        """Count them."""
        self.takings.update(map(str, records))

    def begun(self, record: Record, job: JobContext) -> None:
        """Count it."""
        self.beginnings[str(record)] += 1
        self.jobs.append(job)

    def decided(self, record: Record, outcome: Outcome) -> None:
        """Count it, with the name of its outcome."""
        self.decisions[str(record), type(outcome).__name__] += 1

    def settled(self, ended: Sequence[tuple[Record, Outcome]]) -> None:
        """Count them, with the names of their outcomes."""
        self.settlements.update((str(record), type(outcome).__name__) for record, outcome in ended)

    def committed(self, offsets: Mapping[tuple[str, int], int]) -> None:
        """Keep the latest."""
        self.offsets |= offsets


class FaultyInstrument(Instrument):
    """Raises at one seam, each time that it is called there, and counts that."""

    def __init__(self, seam: str) -> None:
        self._seam = seam
        self.raised = 0

    def enqueued(self, call: JobCall, receipt: Receipt) -> None:
        """Raise, if it is the one."""
        self._pass("enqueued")

    def taken(self, records: Sequence[Record]) -> None:
        """Raise, if it is the one."""
        self._pass("taken")

    def begun(self, record: Record, job: JobContext) -> None:
        """Raise, if it is the one."""
        self._pass("begun")

    def decided(self, record: Record, outcome: Outcome) -> None:
        """Raise, if it is the one."""
        self._pass("decided")

    def settled(self, ended: Sequence[tuple[Record, Outcome]]) -> None:
        """Raise, if it is the one."""
        self._pass("settled")

    def committed(self, offsets: Mapping[tuple[str, int], int]) -> None:
        """Raise, if it is the one."""
        self._pass("committed")

    def _pass(self, seam: str) -> None:
        if seam == self._seam:
            self.raised += 1
            raise ValueError(f"a fault at {seam}")
