"""`InspectionHandout`: gives the inspections of a worker to who prints them, now and then and on demand."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict

from .. import log_keys
from .queue_inspection import QueueInspection

_LOGGER = logging.getLogger("stoker.worker")

InspectionSink = Callable[[Sequence[QueueInspection]], None]


class InspectionHandout:
    """Owned by the thread that runs the worker.

    Args:
        sink: takes each queue's inspection.
        every_s: how often; infinite where it is on demand alone.
        inspect: makes the inspections.
    """

    def __init__(self, sink: InspectionSink, every_s: float, inspect: Callable[[], Sequence[QueueInspection]]) -> None:
        self._sink, self._every_s, self._inspect = sink, every_s, inspect
        self._next_at_s = time.monotonic() + every_s

    def turn(self) -> None:
        """Hand them out if it is time."""
        now_s = time.monotonic()
        if now_s >= self._next_at_s:
            self._next_at_s = now_s + self._every_s
            self.hand_out()

    def hand_out(self) -> None:
        """Hand them out; a sink that fails is logged."""
        try:
            self._sink(self._inspect())
        except Exception:  # what prints an inspection, such as into a closed pipe, must not end the worker
            _LOGGER.warning("the worker could not print its inspection; it goes on with its jobs", exc_info=True)


def log_inspections(inspections: Sequence[QueueInspection]) -> None:
    """Log inspections, where the worker was given no other sink for them."""
    for inspection in inspections:
        _LOGGER.info("inspection: %s", asdict(inspection), extra={log_keys.QUEUE: inspection.queue})
