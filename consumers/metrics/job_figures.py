"""`JobFigures`: counts what was settled of one queue, by type and outcome, and how long jobs waited and ran.

Two threads fold: the settling thread its batches, and the thread that publishes the events of jobs that are done what
was read of those. Runners read it when they make the columns of the event: what they have just run is in the cache, and
a job costs half as much there.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from operator import sub
from typing import Final, get_args

from ...producers.metrics.all_metrics import (
    KAFKA,
    OPERATION_BOUNDS_S,
    OPERATION_SECONDS,
    RUN_BOUNDS_S,
    RUN_SECONDS,
    SETTLED,
    WAIT_BOUNDS_S,
    WAIT_SECONDS,
)
from ...producers.metrics.histogram import Histogram, bins_between, bins_of
from ...producers.metrics.sample import Sample
from ...topology.wire.headers import DUE, parse_instant
from ..records.done_handful import records_of
from ..records.ended_columns import Durations, Handful, handful_of
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
    *(("retried", ""), ("skipped", ""), ("snoozed", ""), ("snoozed", LIMITED), ("delayed", ""), ("interrupted", "")),
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

    def durations(self, handful: Handful) -> list[Durations]:
        """Read what is counted of jobs that are done; any thread may call it."""
        if handful.are_alike:
            return self._durations_alike(handful)
        found: list[Durations] = []
        for layout in set(handful.layouts):
            found += self._durations_alike(handful_of([one for one in handful.records if one.layout is layout]))
        return found

    def fold(self, durations: Iterable[Durations]) -> None:
        """Count jobs that are done."""
        for name, jobs, waits, runs in durations:
            figures = self.types[name]
            figures.done += jobs
            figures.runs.add(runs)
            figures.waits.add(waits)

    def fold_run(self, record: Record) -> None:
        """Count the last run of a record, if there was one."""
        if record.ended_at_s and not math.isnan(record.began_at_s):  # as it is where no slot has begun the run
            figures = self.types[self.name(record)]
            figures.runs.note(record.ended_at_s - record.began_at_s)
            figures.waits.note(record.began_at_s + time.time() - time.monotonic() - _runnable_from_s(record))

    def name(self, record: Record) -> str:
        """The type of a record."""
        at = record.layout.job_type_at
        return self._known.get(b"" if at is None else record.values[at], UNKNOWN)

    def _durations_alike(self, handful: Handful) -> list[Durations]:
        """Read what is counted of jobs whose headers stand at the same places."""
        at = handful.layouts[0].job_type_at
        if at is None or self._only is not None:  # what is done has a handler, so its type is known
            return [_durations_of(self._only or UNKNOWN, handful)]
        by_name: dict[bytes, list[Record]] = {}
        for record in handful.records:
            by_name.setdefault(record.values[at], []).append(record)
        return [_durations_of(self._known.get(name, UNKNOWN), handful_of(some)) for name, some in by_name.items()]


def _durations_of(name: str, handful: Handful) -> Durations:
    """Sort the waits and runs of jobs into buckets.

    Short jobs that were run together lie in one bucket each way, which is seen by their first and last instants.
    """
    records, layouts, began_at_s, ended_at_s = handful
    count = len(records)
    first_s, last_s, all_began_s = min(began_at_s), max(ended_at_s), sum(began_at_s)
    runs = bins_between(0.0, last_s - first_s, count, sum(ended_at_s) - all_began_s, RUN_BOUNDS_S)
    if runs is None:
        runs = bins_of(map(sub, ended_at_s, began_at_s), RUN_BOUNDS_S)
    shift_s = time.time() - time.monotonic()
    waits = None
    if layouts[0].is_of_first_run:
        written_ms = [record.timestamp_ms for record in records]
        base_ms = min(written_ms)
        most_s = first_s + shift_s - base_ms / 1e3  # of numbers that are small, so that no digit of their sum is lost
        total_s = all_began_s - count * first_s + count * most_s - (sum(written_ms) - count * base_ms) / 1e3
        least_s = first_s + shift_s - max(written_ms) / 1e3
        waits = bins_between(least_s, most_s + last_s - first_s, count, total_s, WAIT_BOUNDS_S)
    if waits is None:
        waits = bins_of((record.began_at_s + shift_s - _runnable_from_s(record) for record in records), WAIT_BOUNDS_S)
    return Durations(name, count, waits, runs)


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
        done = records_of(batch.done_with_records)
        if done:
            self._settled.fold(self._settled.durations(handful_of(done)))
        self.fold_others(batch)

    def fold_others(self, batch: SettlementBatch) -> None:
        """Count how long a batch took, and all of it but jobs that are done; called by the settling thread."""
        first = batch.done[0].records[0] if batch.done else batch.others[0].record if batch.others else None
        if first is not None and first.ended_at_s:
            self._settling.note(time.monotonic() - first.ended_at_s)
        for item in batch.others:
            if item.outcome is not DONE:
                self._note(item.record, item.outcome)

    def durations(self, handful: Handful) -> list[Durations]:
        """Read what is counted of jobs that are done; called by any thread."""
        return self._settled.durations(handful)

    def fold_given_up(self, durations: Sequence[Durations]) -> None:
        """Count jobs that are done; called by the settling thread."""
        self._settled.fold(durations)

    def fold_published(self, durations: Sequence[Durations]) -> None:
        """Count jobs that are done; called by the thread that publishes their events."""
        self._published.fold(durations)

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
