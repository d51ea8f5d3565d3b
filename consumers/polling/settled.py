"""`SettledBatches`: what was settled, on its way back from the settling thread to the poll thread."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from ..instruments.instruments import Instruments
from ..records.reschedules import Reschedules
from ..settling.ended_cancels import EndedCancels
from ..settling.settlement import SettlementBatch

CHANGE_WAIT_S: Final = 0.02
"""How long the poll thread waits for a batch before it looks at everything else again."""

OnSettled = Callable[[SettlementBatch], None]
"""Takes a settled batch, in the settling thread."""


class SettledBatches:
    """The queue of settled batches: the settling thread puts them in, the poll thread takes them out.

    Args:
        listeners: take each batch before the poll thread does, in this order.
    """

    def __init__(self, listeners: Iterable[OnSettled] = ()) -> None:
        self._listeners = tuple(listeners)
        self._batches: deque[SettlementBatch] = deque()
        self._changed = threading.Event()

    def add_listener(self, listener: OnSettled) -> None:
        """Have one more take each batch, as the last one; called before the first batch."""
        self._listeners = (*self._listeners, listener)

    def put(self, batch: SettlementBatch) -> None:
        """Add a batch, and wake the poll thread where it waits for one."""
        for listener in self._listeners:
            listener(batch)
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


def tell_instruments(instruments: Instruments, batch: SettlementBatch) -> None:
    """Call the instruments, as far as they are not switched off."""
    if instruments:
        instruments.settled(batch.ended)


def note_ended_orders(cancels: EndedCancels, reschedules: Reschedules, batch: SettlementBatch) -> None:
    """Note the jobs that orders were about, so that these can be forgotten; while none stands, no job is looked at."""
    if cancels:
        cancels.note(batch.ended)
    if reschedules.stands:
        reschedules.note_settled(batch.ended)
