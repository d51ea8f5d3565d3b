"""`SettledBatches`: what was settled, on its way back from the settling thread to the poll thread.

`put` is the settler's `on_settled`; `Completion` takes the batches out.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final

from ..settling.settlement import OnSettled, SettlementBatch

CHANGE_WAIT_S: Final = 0.02
"""How long the poll thread waits for a batch before it looks at everything else again."""


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
        """Add a listener behind the others; called before the first batch.

        Metrics are one: the application asks for them when the worker is made already (`Worker.measure`).
        """
        self._listeners = (*self._listeners, listener)

    def put(self, batch: SettlementBatch) -> None:
        """Add a batch, and wake the poll thread where it waits for one."""
        for listener in self._listeners:
            listener(batch)
        self._batches.append(batch)
        self._changed.set()

    def drain(self) -> Iterator[SettlementBatch]:
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
