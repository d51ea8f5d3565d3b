"""`JobFigures`: counts what was settled of one queue, by type and outcome, and how long jobs waited and ran.

The settling thread hands over its batches. Of jobs that are done, which are the most by far, a whole batch is folded at
once: that costs a quarter of a microsecond for each, where a call of a metrics library costs ten.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from typing import Final

from ...producers.metrics.catalogue import (
    KAFKA,
    OPERATION_BOUNDS_S,
    OPERATION_SECONDS,
    RUN_BOUNDS_S,
    RUN_SECONDS,
    SETTLED,
    WAIT_BOUNDS_S,
    WAIT_SECONDS,
)
from ...producers.metrics.histogram import Histogram
from ...producers.metrics.sample import Sample
from ...topology.wire.headers import DUE, parse_instant
from ..records.header_layout import HeaderLayout
from ..records.outcomes import DONE, Cancelled, Dead, Deferred, Outcome, Snoozed
from ..records.record import Record
from ..settling.settlement import SettlementBatch

UNKNOWN: Final = "(unknown)"
"""The type of records that name none, or one that the pipeline does not have: those names are anybody's."""
FROM_THE_START: Final = (("retried", ""), ("dead", "attempts-spent"), ("dead", "permanent"))
"""Outcomes and reasons that each type has a sample of before the first one: else no alert could see that one come."""


class _TypeFigures:
    """The figures of one job type."""

    __slots__ = ("done", "runs", "waits")

    def __init__(self) -> None:
        self.done = 0
        self.runs, self.waits = Histogram(RUN_BOUNDS_S), Histogram(WAIT_BOUNDS_S)


class JobFigures:
    """The settling thread calls `fold`; any thread may call `samples`."""

    def __init__(self, queue: str, job_types: Collection[str]) -> None:
        self._queue = queue
        self._known = {name.encode(): name for name in job_types}
        self._types: dict[str, _TypeFigures] = {}
        self._others = Counter({(name, *ending): 0 for name in self._known.values() for ending in FROM_THE_START})
        self._settling = Histogram(OPERATION_BOUNDS_S)

    def fold(self, batch: SettlementBatch) -> None:
        """Count a batch that is settled."""
        if batch.done:
            self._note_settling(batch.done[0])
            self._fold_done(batch.done)
        elif batch.others:
            self._note_settling(batch.others[0].record)
        for item in batch.others:
            self._note(item.record, item.outcome)

    def _note_settling(self, first: Record) -> None:
        """Count how long the first of a batch has waited until all of it was durable."""
        if first.ended_s:
            self._settling.note(time.monotonic() - first.ended_s)

    def _fold_done(self, records: Sequence[Record]) -> None:
        layouts = {record.layout for record in records}
        for layout in layouts:
            alike = records if len(layouts) == 1 else [record for record in records if record.layout is layout]
            self._fold_alike(alike, layout)

    def _fold_alike(self, records: Sequence[Record], layout: HeaderLayout) -> None:
        """Count jobs that are done and whose headers stand at the same places."""
        at = layout.job_type_at
        names = {b""} if at is None else {record.values[at] for record in records}
        if at is None or len(names) == 1:
            return self._fold_type(self._of(names.pop()), records, layout)
        by_name: dict[bytes, list[Record]] = {name: [] for name in names}
        for record in records:
            by_name[record.values[at]].append(record)
        for name, some in by_name.items():
            self._fold_type(self._of(name), some, layout)
        return None

    def _fold_type(self, figures: _TypeFigures, records: Sequence[Record], layout: HeaderLayout) -> None:
        figures.done += len(records)
        figures.runs.fold([record.ended_s - record.began_s for record in records])
        shift_s = time.time() - time.monotonic()
        if layout.is_of_first_run:  # in ms, which their own times are in already
            waits_ms = [record.began_s * 1e3 - record.timestamp_ms for record in records]
            figures.waits.fold(waits_ms, shift=shift_s * 1e3, unit=1e3)
        else:
            figures.waits.fold([record.began_s - _runnable_from_s(record) for record in records], shift=shift_s)

    def _note(self, record: Record, outcome: Outcome) -> None:
        """Count one outcome of those that are few."""
        name = self._name(record)
        if outcome is DONE:
            self._of_name(name).done += 1
        else:
            self._others[name, type(outcome).__name__.lower(), _reason(outcome)] += 1
        if record.ended_s:
            figures = self._of_name(name)
            figures.runs.note(record.ended_s - record.began_s)
            figures.waits.note(record.began_s + time.time() - time.monotonic() - _runnable_from_s(record))

    def _name(self, record: Record) -> str:
        at = record.layout.job_type_at
        return self._known.get(b"" if at is None else record.values[at], UNKNOWN)

    def _of(self, name: bytes) -> _TypeFigures:
        return self._of_name(self._known.get(name, UNKNOWN))

    def _of_name(self, name: str) -> _TypeFigures:
        found = self._types.get(name)
        if found is None:
            found = self._types[name] = _TypeFigures()
        return found

    def samples(self) -> Iterator[Sample]:
        """The samples of this moment."""
        for name, figures in list(self._types.items()):
            yield Sample(RUN_SECONDS, (KAFKA, "run", self._queue, name), figures.runs.value())
            yield Sample(WAIT_SECONDS, (self._queue, name), figures.waits.value())
            yield Sample(SETTLED, (self._queue, name, "done", ""), figures.done)
        for (name, outcome, reason), count in list(self._others.items()):
            yield Sample(SETTLED, (self._queue, name, outcome, reason), count)
        yield Sample(OPERATION_SECONDS, (KAFKA, "settle", self._queue), self._settling.value())


def _runnable_from_s(record: Record) -> float:
    """The epoch second from which a job could run: its due time, else when its record was written."""
    due = record.header(DUE)
    written_s = record.timestamp_ms / 1e3
    if due is None:
        return written_s
    try:
        return max(written_s, parse_instant(due).timestamp())
    except ValueError:
        return written_s


def _reason(outcome: Outcome) -> str:
    if isinstance(outcome, Dead | Cancelled | Deferred):
        return outcome.reason
    return "limited" if isinstance(outcome, Snoozed) and outcome.is_limited else ""
