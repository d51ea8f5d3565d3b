"""`SettledBatches`: what was settled, on its way back from the settling thread to the poll thread."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final

from ..instruments.instruments import NO_INSTRUMENTS, Instruments
from ..records.reschedules import NO_RESCHEDULES, Reschedules
from ..settling.settlement import SettlementBatch
from ..tracing.run_spans import RunSpans
from .ended_cancels import EndedCancels

CHANGE_WAIT_S: Final = 0.02
"""How long the poll thread waits for a batch before it looks at everything else again."""


class SettledBatches:
    """The queue of settled batches: the settling thread puts them in, the poll thread takes them out.

    `fold` takes each batch as well, to count it, where somebody has set it before the first one.
    """

    def __init__(
        self,
        instruments: Instruments = NO_INSTRUMENTS,
        cancels: EndedCancels | None = None,
        reschedules: Reschedules = NO_RESCHEDULES,
        spans: RunSpans | None = None,
    ) -> None:
        self._spans = spans
        self._instruments = instruments
        self._reschedules = reschedules
        self._cancels = EndedCancels() if cancels is None else cancels
        self._batches: deque[SettlementBatch] = deque()
        self._changed = threading.Event()
        self.fold: Callable[[SettlementBatch], None] | None = None

    def put(self, batch: SettlementBatch) -> None:
        """Add a batch, and wake the poll thread where it waits for one."""
        if self._spans is not None:
            self._spans.settled(batch)
        if self._instruments:
            self._instruments.settled(batch.ended)
        if self._cancels:
            self._cancels.note(batch.ended)
        if self._reschedules.stands:
            self._reschedules.note_settled(batch.ended)
        if self.fold is not None:
            self.fold(batch)
        self._batches.append(batch)
        self._changed.set()

    def take(self) -> Iterator[SettlementBatch]:
        """Take out what is there, the oldest first."""
        while self._batches:
            yield self._batches.popleft()

    def wait(self, within_s: float = CHANGE_WAIT_S) -> None:
        """Wait a moment for the next batch."""
        self._changed.wait(within_s)
        self._changed.clear()

    def wake(self) -> None:
        """End a `wait` at once; called from any thread."""
        self._changed.set()
