"""Obstacles: why the waiting jobs of a queue do not run, each with how to fix it. Pure but for the time of day."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from ...topology import Queue, format_duration
from ...topology.counts import counted, counted_doing
from ..cluster_view import ConsumerGroup, partitions_of
from ..instants import rounded
from .blocker_reports import BlockerReport
from .offset_reading import Heads, OffsetReading
from .standstill import Standstill

USUAL: Final = frozenset({"running", "ready", "behind"})
"""States of jobs that hold up others for a while where jobs are long."""
MOST_SHOWN: Final = 5
NEAR_ALONE: Final = 0.5
NEAR_AT_WORK: Final = 0.8
"""Shares of the retention from which a record is near its end; workers carry what waits forward at three quarters."""


def visible_obstacles(
    queue: Queue, runnable: int, reading: OffsetReading, heads: Heads, group: ConsumerGroup
) -> Iterator[str]:
    """Read from the topics and the group what is in the way.

    Args:
        runnable: how many of its jobs could run now.
    """
    missing = [topic for topic in (*queue.job_topics, queue.dead_topic) if topic not in reading.counts]
    if missing:
        more = f" and {len(missing) - 1} more of its topics" if missing[1:] else ""
        yield f"the cluster has no {missing[0]}{more}: run `stoker topology apply`"
    if runnable and not group.members:
        yield f"no worker runs for it: start one with `stoker worker --queue {queue.name}`"
    elif runnable and group.state != "stable":
        yield f"the group {group.name} is assigning partitions (state {group.state}): this ends by itself"
    yield from _aging(queue, reading, heads, group)


def _aging(queue: Queue, reading: OffsetReading, heads: Heads, group: ConsumerGroup) -> Iterator[str]:
    """Report that retention comes near: without workers after half of it, since only they carry records forward."""
    parts = partitions_of([*queue.entry_topics, queue.carried_topic], reading.counts)
    oldest = min((head.at for part in parts if (head := heads.get(part)) is not None), default=None)
    age = timedelta(0) if oldest is None else datetime.now(UTC) - oldest
    if age > queue.retention * (NEAR_AT_WORK if group.members else NEAR_ALONE):
        kept = format_duration(queue.retention)
        yield (
            f"the oldest record that waits is {rounded(age)} old, and records are kept for {kept}: let it run before "
            "Kafka deletes it, or raise the queue's retention"
        )


def reported_obstacles(
    found: Sequence[BlockerReport], fault: str, workers: int, now: datetime, *, stands: bool
) -> Iterator[str]:
    """The blockers that the workers report; usual ones of long jobs only if nothing moved between two readings.

    Args:
        fault: why reports are missing; empty where they could be read.
        stands: whether nothing moved.
    """
    shown = [report for report in found if stands or report.state not in USUAL]
    yield from (report.sentence(now) for report in shown[:MOST_SHOWN])
    if len(shown) > MOST_SHOWN:
        yield f"{counted_doing(len(shown) - MOST_SHOWN, 'more job', 'hold')} up others: see --json"
    if stands and not shown:
        reports = fault or "no worker has reported why so far"
        yield f"{counted(workers, 'worker')} and no progress between two readings; {reports}; look again in 10 s"


def silent_obstacles(silent: Iterable[Standstill], now: datetime) -> list[str]:
    """The partitions that did not move and that no worker reports on."""
    reasons = [f"{still.sentence(now)}; no worker has reported why so far: look again in 10 s" for still in silent]
    return reasons[:MOST_SHOWN]
