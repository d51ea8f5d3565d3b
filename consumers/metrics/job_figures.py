"""`JobFigures`: counts what was settled of one queue, by type and outcome, and how long jobs waited and ran.

Two threads fold. The settling thread hands over its batches, and the thread that makes events of jobs that are done
hands over those of each event: it has just read them, so there a job costs half as much.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final, get_args

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
from ..records.outcomes import (
    DONE,
    Cancelled,
    CancelReason,
    Dead,
    DeadReason,
    DeferReason,
    Deferred,
    Outcome,
    Snoozed,
)
from ..records.record import Record
from ..settling.settlement import SettlementBatch

UNKNOWN: Final = "(unknown)"
"""The type of records that name none, or one that the pipeline does not have: those names are anybody's."""
LIMITED: Final = "limited"
FROM_THE_START: Final = (
    *(("retried", ""), ("skipped", ""), ("snoozed", ""), ("snoozed", LIMITED)),
    *(("dead", reason) for reason in get_args(DeadReason)),
    *(("cancelled", reason) for reason in get_args(CancelReason)),
    *(("deferred", reason) for reason in get_args(DeferReason)),
)
"""Outcomes and reasons that each type has a sample of before the first one: else no alert could see that one come."""


class _TypeFigures:
    """The figures of one job type."""

    __slots__ = ("done", "runs", "waits")

    def __init__(self) -> None:
        self.done = 0
        self.runs, self.waits = Histogram(RUN_BOUNDS_S), Histogram(WAIT_BOUNDS_S)


class _Folded:
    """The figures that one thread has folded, by job type."""

    def __init__(self, known: Mapping[bytes, str]) -> None:
        self._known = known
        self._only = next(iter(known.values())) if len(known) == 1 else None
        self.types = {name: _TypeFigures() for name in (*known.values(), UNKNOWN)}

    def fold_done(self, records: Sequence[Record]) -> None:
        """Count jobs that are done."""
        layouts = {record.layout for record in records}
        for layout in layouts:
            alike = records if len(layouts) == 1 else [record for record in records if record.layout is layout]
            self._fold_alike(alike, layout)

    def fold_run(self, record: Record) -> None:
        """Count the last run of a record, if there was one."""
        if record.ended_at_s:
            figures = self.types[self.name(record)]
            figures.runs.note(record.ended_at_s - record.began_at_s)
            figures.waits.note(record.began_at_s + time.time() - time.monotonic() - _runnable_from_s(record))

    def name(self, record: Record) -> str:
        """The type of a record."""
        at = record.layout.job_type_at
        return self._known.get(b"" if at is None else record.values[at], UNKNOWN)

    def _fold_alike(self, records: Sequence[Record], layout: HeaderLayout) -> None:
        """Count jobs that are done and whose headers stand at the same places."""
        at = layout.job_type_at
        if at is None or self._only is not None:  # what is done has a handler, so its type is known
            return self._fold_type(self.types[self._only or UNKNOWN], records, layout)
        names = {record.values[at] for record in records}
        if len(names) == 1:
            return self._fold_type(self._of(names.pop()), records, layout)
        by_name: dict[bytes, list[Record]] = {name: [] for name in names}
        for record in records:
            by_name[record.values[at]].append(record)
        for name, some in by_name.items():
            self._fold_type(self._of(name), some, layout)
        return None

    def _of(self, name: bytes) -> _TypeFigures:
        return self.types[self._known.get(name, UNKNOWN)]

    def _fold_type(self, figures: _TypeFigures, records: Sequence[Record], layout: HeaderLayout) -> None:
        figures.done += len(records)
        figures.runs.fold([record.ended_at_s - record.began_at_s for record in records])
        shift_s = time.time() - time.monotonic()
        if layout.is_of_first_run:  # in ms, which their own times are in already
            waits_ms = [record.began_at_s * 1e3 - record.timestamp_ms for record in records]
            figures.waits.fold(waits_ms, shift=shift_s * 1e3, unit=1e3)
        else:
            figures.waits.fold([record.began_at_s - _runnable_from_s(record) for record in records], shift=shift_s)


class JobFigures:
    """Each of the two threads writes figures of its own; any thread may call `samples`."""

    def __init__(self, queue: str, job_types: Collection[str]) -> None:
        self._queue = queue
        known = {name.encode(): name for name in job_types}
        self._settled, self._published = _Folded(known), _Folded(known)
        self._others = Counter({(name, *ending): 0 for name in self._settled.types for ending in FROM_THE_START})
        self._settling = Histogram(OPERATION_BOUNDS_S)

    def fold(self, batch: SettlementBatch) -> None:
        """Count a batch that is settled; called by the settling thread."""
        self.fold_done([*batch.done, *(item.record for item in batch.others if item.outcome is DONE)])
        self.fold_others(batch)

    def fold_others(self, batch: SettlementBatch) -> None:
        """Count how long a batch took, and all of it but jobs that are done; called by the settling thread."""
        first = batch.done[0] if batch.done else batch.others[0].record if batch.others else None
        if first is not None and first.ended_at_s:
            self._settling.note(time.monotonic() - first.ended_at_s)
        for item in batch.others:
            if item.outcome is not DONE:
                self._note(item.record, item.outcome)

    def fold_done(self, records: Sequence[Record]) -> None:
        """Count jobs that are done; called by the settling thread."""
        self._settled.fold_done(records)

    def fold_published(self, records: Sequence[Record]) -> None:
        """Count jobs that are done; called by the thread that makes their events."""
        self._published.fold_done(records)

    def _note(self, record: Record, outcome: Outcome) -> None:
        """Count one outcome of those that are few."""
        self._others[self._settled.name(record), type(outcome).__name__.lower(), _reason(outcome)] += 1
        self._settled.fold_run(record)

    def samples(self) -> Iterator[Sample]:
        """The samples of this moment."""
        for name, settled in self._settled.types.items():
            published = self._published.types[name]
            done = settled.done + published.done
            if name == UNKNOWN and not done:
                continue  # none of them ever runs
            yield Sample(RUN_SECONDS, (KAFKA, "run", self._queue, name), settled.runs.value() + published.runs.value())
            yield Sample(WAIT_SECONDS, (self._queue, name), settled.waits.value() + published.waits.value())
            yield Sample(SETTLED, (self._queue, name, "done", ""), done)
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
    return LIMITED if isinstance(outcome, Snoozed) and outcome.is_limited else ""
