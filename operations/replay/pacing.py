"""Publish any number of units at a capped rate, in small transactions, until done or stopped."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from .transactions import TransactionalPublisher
from .units import RefusedUnit, Unit

MAX_BATCH_UNITS: Final = 500
MAX_BATCH_BYTES: Final = 4 * 1024 * 1024
BATCHES_PER_S: Final = 4
"""Under a rate cap, a batch holds a fourth of a second's units, so that the rate is even."""
KEPT_REFUSALS: Final = 100


class _Stopped(Exception):
    """The reading of what is to be published was broken off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayPace:
    """How fast to publish, and who may stop it.

    Attributes:
        rate: units per second; None sets no cap.
        stop: once set, the batch at hand is finished and no other is begun.
        clock: seconds, monotonic.
    """

    rate: float | None = None
    stop: threading.Event = field(default_factory=threading.Event)
    clock: Callable[[], float] = time.monotonic

    @property
    def batch_units(self) -> int:
        """The most units a transaction may hold."""
        return MAX_BATCH_UNITS if self.rate is None else max(1, min(MAX_BATCH_UNITS, int(self.rate / BATCHES_PER_S)))

    def break_off_once_stopped(self, _passed: int, _total: int) -> None:
        """Break off a reading, whose progress this is given, once a stop is set: the next unit may be very far away."""
        if self.stop.is_set():
            raise _Stopped

    def wait_until_due(self, begun_at_s: float, published: int) -> None:
        """Wait until so many units may have been published; a stop ends the waiting."""
        if self.rate is not None:
            self.stop.wait(max(begun_at_s + published / self.rate - self.clock(), 0))


@dataclass(slots=True)
class Published:
    """How far the publishing has come. Not frozen, because it counts.

    Attributes:
        units: committed ones, those with nothing but progress left out.
        refused: how many the brokers did not take.
        refusals: the first of them.
        is_stopped: it was stopped before the end.
    """

    units: int = 0
    refused: int = 0
    refusals: list[RefusedUnit] = field(default_factory=list)
    is_stopped: bool = False

    def note(self, batch: list[Unit], refusals: list[RefusedUnit]) -> None:
        """Count a committed batch."""
        self.units += sum(bool(unit.records) for unit in batch) - len(refusals)
        self.refused += len(refusals)
        self.refusals += refusals[: KEPT_REFUSALS - len(self.refusals)]


def publish_paced(
    publisher: TransactionalPublisher,
    units: Iterable[Unit],
    pace: ReplayPace,
    on_progress: Callable[[Published], None] | None = None,
) -> Published:
    """Publish all units, or those before a stop, which also breaks off their reading (`break_off_once_stopped`).

    Raises:
        Fenced, PublishFailed: as of `TransactionalPublisher.publish`.
    """
    published, begun_at_s = Published(), pace.clock()
    try:
        for batch in _batches(units, pace.batch_units):
            pace.wait_until_due(begun_at_s, published.units)
            if pace.stop.is_set():
                raise _Stopped
            published.note(batch, publisher.publish(batch))
            if on_progress is not None:
                on_progress(published)
    except _Stopped:
        published.is_stopped = True
    return published


def _batches(units: Iterable[Unit], max_units: int) -> Iterator[list[Unit]]:
    batch: list[Unit] = []
    size_bytes = 0
    for unit in units:
        batch.append(unit)
        size_bytes += sum(record.size_bytes for record in unit.records)
        if len(batch) >= max_units or size_bytes >= MAX_BATCH_BYTES:
            yield batch
            batch, size_bytes = [], 0
    if batch:
        yield batch
