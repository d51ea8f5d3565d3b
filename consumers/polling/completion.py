"""`Completion`: counts what was settled as complete."""

from __future__ import annotations

from collections import Counter

from ..records.outcomes import INTERRUPTED
from .backpressure import Backpressure
from .dispatch import Dispatch
from .settled import SettledBatches


class Completion:
    """Counts settled records as complete; owned by the poll thread, without I/O.

    `outcomes` counts {outcome's class name: how many}, since the start.
    """

    def __init__(self, settled: SettledBatches, backpressure: Backpressure, dispatch: Dispatch) -> None:
        self._settled = settled
        self._backpressure = backpressure
        self._dispatch = dispatch
        self.outcomes: Counter[str] = Counter()

    def note_settled(self) -> None:
        """Take what was settled since the last call."""
        for batch in self._settled.take():
            self._backpressure.end(batch.records)
            for record in batch.done:
                if record.assignment.is_active:
                    record.assignment.progress.complete(record.offset)
            for item in batch.others:
                if item.record.assignment.is_active and item.outcome is not INTERRUPTED:
                    item.record.assignment.progress.complete(item.record.offset)
            self._dispatch.note_settled(batch.others)
            self.outcomes.update(batch.outcomes)
