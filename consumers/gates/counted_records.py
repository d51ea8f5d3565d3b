"""`CountedRecords`: the records that gates with hooks have counted, from the last look to the end of the run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum

from ..records.outcomes import Outcome
from ..records.record import Record
from .gate import Gate, Wait


class Beginning(Enum):
    """The fate of a record whose handler was about to be called."""

    BEGINS = "begins"
    WAITS = "waits"
    """A gate holds it back."""
    ENDS = "ends"
    """A gate would hold it back, but its job is cancelled, or its partition is given away."""


class CountedRecords:
    """Empty where no gate has hooks. Safe to call from all threads.

    Attributes:
        hooked: the gates with hooks.
    """

    def __init__(self, hooked: Iterable[Gate] = ()) -> None:
        self.hooked = tuple(hooked)
        self._records: set[Record] = set()

    def __len__(self) -> int:
        """How many runs are counted."""
        return len(self._records)

    def __contains__(self, record: Record) -> bool:
        return record in self._records

    def acquire(self, record: Record, gates: Sequence[Gate], now_s: float) -> Wait | None:
        """Have all gates count a record. If one of them holds it back, no gate counts it, and its wait is returned."""
        for gate in gates:
            answer = gate.acquire(record, now_s)
            if isinstance(answer, Wait):
                for earlier in gates[: gates.index(gate)]:
                    earlier.give_back(record)
                return answer
        if self.hooked:
            self._records.add(record)
        return None

    def note_ended(self, record: Record, outcome: Outcome) -> None:
        """Note that the run of a record is over, if it was counted."""
        if record in self._records:
            self._records.discard(record)
            for gate in self.hooked:
                gate.ended(record, outcome)
