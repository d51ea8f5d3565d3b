"""`Statistics`: rates, waits, runs and failures of the last minutes, summed over all partitions and processes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final

from confluent_kafka import KafkaException

from ...schemas import Undecodable, UnknownSchema
from ...schemas.own_records.statistics_records import PANE_S, FailureCount, StatisticsPane, decode_pane
from ...topology import ClusterSettings, NotAuthorized, Pipeline
from ...topology.cluster.settings import ClusterUnreachable
from ..stored_jobs.errors import StoredJobsError
from .panes import PaneName
from .stored import MARGIN_S, StoredStatistics, read_stored
from .tallies import DONE, FAILED, OTHER_TYPES, Tally

FRESH_S: Final = 15.0
"""A partition that was not written for longer makes the statistics stale."""
SHORTEST, LONGEST = timedelta(seconds=PANE_S), timedelta(hours=1)
"""Over how long statistics can be read: less than a pane has one or none, by chance."""
MOST_CAUSES: Final = 1_000
"""Causes of failures of one type that are kept apart when panes are summed."""
MOST_SUMMED: Final = 5_000
"""Job types that are kept apart when panes are summed, over all queues."""


class Freshness(StrEnum):
    """Whether statistics are kept."""

    FRESH = "fresh"
    STALE = "stale"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeStatistics:
    """The figures of one job type of a queue, or of a whole queue.

    Attributes:
        job_type: empty where all types of the queue are together.
        tally: counts by outcome, histograms of waits and runs, and failures by cause.
        span_s: of how many seconds they are.
    """

    queue: str
    job_type: str
    tally: Tally
    span_s: float

    @property
    def done_per_s(self) -> float:
        """Jobs that are done."""
        return self.tally.counts[DONE] / self.span_s

    @property
    def failed_per_s(self) -> float:
        """Runs that failed, whether the job is tried again or became a dead letter."""
        return sum(self.tally.counts[kind] for kind in FAILED) / self.span_s

    @property
    def failures(self) -> list[FailureCount]:
        """Failures by cause, the most frequent first."""
        return sorted(self.tally.failures.values(), key=lambda one: -one.count)


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """The figures of the last minutes.

    Attributes:
        freshness: `NONE` if no process has kept statistics for the last hours.
        at: when the partition was written that is furthest behind; None without statistics.
        since: from when on events are counted here, up to `at`.
        behind: events that were not counted yet.
        processes: those that keep them, as `host/process id`.
        types: by queue and type.
    """

    freshness: Freshness
    at: datetime | None = None
    since: datetime | None = None
    behind: int = 0
    processes: tuple[str, ...] = ()
    types: tuple[TypeStatistics, ...] = ()

    @property
    def is_fresh(self) -> bool:
        """Whether they are kept now."""
        return self.freshness is Freshness.FRESH

    def by_queue(self) -> dict[str, TypeStatistics]:
        """{queue: the figures of all its types together}."""
        found: dict[str, TypeStatistics] = {}
        for one in self.types:
            whole = found.setdefault(
                one.queue, TypeStatistics(queue=one.queue, job_type="", tally=Tally(""), span_s=one.span_s)
            )
            whole.tally.merge(one.tally, MOST_CAUSES)
        return found


def read_statistics(
    pipeline: Pipeline, cluster: ClusterSettings, last: timedelta, clock: Callable[[], float] = time.time
) -> Statistics:
    """Read the figures of the last minutes, an hour at most; of stale ones, those before the last snapshot.

    Raises:
        TopicAbsent, NotAuthorized, ClusterUnreachable, ReadStalled: they cannot be read.
    """
    now_s, margin = clock(), timedelta(seconds=MARGIN_S)
    now = datetime.fromtimestamp(now_s, UTC)
    stored = read_stored(cluster, pipeline.stats_topic, now - last - margin)
    if not stored.positions:
        return Statistics(freshness=Freshness.NONE)
    at = min(one.written for one in stored.positions.values())
    if now - at > timedelta(seconds=FRESH_S):
        stored = read_stored(cluster, pipeline.stats_topic, at - last - margin)
    return summed(stored, last, now_s)


def read_statistics_if_any(pipeline: Pipeline, cluster: ClusterSettings, last: timedelta) -> Statistics:
    """Read the figures for a command that works without them: it has none where they cannot be read."""
    try:
        return read_statistics(pipeline, cluster, last)
    except (StoredJobsError, NotAuthorized, ClusterUnreachable, KafkaException):
        return Statistics(freshness=Freshness.NONE)


def summed(stored: StoredStatistics, last: timedelta, now_s: float) -> Statistics:
    """Sum the panes up to the last snapshot. Pure."""
    at = min(one.written for one in stored.positions.values())
    is_fresh = now_s - at.timestamp() <= FRESH_S
    since_at_s = int((at.timestamp() - last.total_seconds()) // PANE_S + 1) * PANE_S
    span_s = max(at.timestamp() - since_at_s, 1.0)
    tallies: dict[tuple[str, str], Tally] = {}
    for pane in _panes(stored.panes, since_at_s, at.timestamp()):
        for counts in pane.types:
            name = pane.queue, counts.job_type
            if name not in tallies and len(tallies) >= MOST_SUMMED:
                name = pane.queue, OTHER_TYPES
            tallies.setdefault(name, Tally(name[1])).add_counts(counts, MOST_CAUSES)
    return Statistics(
        freshness=Freshness.FRESH if is_fresh else Freshness.STALE,
        at=at,
        since=datetime.fromtimestamp(since_at_s, UTC),
        behind=sum(one.position.behind for one in stored.positions.values()),
        processes=tuple(sorted({one.position.process for one in stored.positions.values()})),
        types=tuple(
            TypeStatistics(queue=queue, job_type=job_type, tally=tally, span_s=span_s)
            for (queue, job_type), tally in sorted(tallies.items())
        ),
    )


def _panes(
    stored: Mapping[int, Mapping[PaneName, bytes]], since_at_s: float, until_at_s: float
) -> Iterable[StatisticsPane]:
    """The panes that begin in that time; what another version of Stoker wrote is left out."""
    for panes in stored.values():
        for value in (value for (_, begins_s), value in panes.items() if since_at_s <= begins_s <= until_at_s):
            with suppress(Undecodable, UnknownSchema):
                yield decode_pane(value)
