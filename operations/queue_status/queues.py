"""`QueueStatus`: the backlog of each queue by topic, its pace, its workers, and why it does not run.

A topic's waiting records are those from the group's committed offset to the end; where nothing was committed, from
the beginning, since workers start there. A worker finishes jobs out of order and commits the lowest unfinished one, so
up to its bound of jobs in flight may be done already. Markers of transactions between the records count as records.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from ...consumers.sources.source import CARRIED, Source, sources_of
from ...schemas.own_records.control_records import ControlOrder
from ...topology import ClusterSettings, Queue
from ...topology.wire import headers as wire
from ..cluster_view import ClusterView, ConsumerGroup, partitions_of
from ..stored_jobs.dead_letters import DeadLetterReader
from ..stored_jobs.selection import Selection
from ..stored_jobs.stored_job import StoredJob
from .blocker_reports import BlockerReport, BlockerReports, read_blockers
from .fill import Fill, fill_of
from .obstacles import reported_obstacles, silent_obstacles, visible_obstacles
from .offset_reading import Heads, OffsetReading, may_have_waiting, waiting_heads
from .standstill import Standstill, standstills, unexplained
from .waiting_reports import WaitingSum, sum_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """The jobs that wait on one topic of a queue.

    Attributes:
        source: which of the queue's topics it is.
        exists: whether the cluster has the topic.
        waiting: records that are not finished.
        oldest: when the oldest of them was written to the topic, or on the carried topic, when it was enqueued; None
            when nothing waits or it could not be read.
        due: when the first of those that wait is due; None as above, and where jobs wait for no time.
    """

    topic: str
    source: Source
    exists: bool
    waiting: int
    oldest: datetime | None
    due: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast a queue moves, measured between two readings."""

    enqueued_per_s: float
    done_per_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueStatus:
    """One queue at one moment.

    Attributes:
        backlogs: the main topic, those of priorities, the tiers by delay, the delays, and what was carried forward.
        dead: open dead letters; None where they were not counted.
        dead_at_most: the offsets of the dead-letter topic: dead letters, dispositions and markers of transactions.
        pace: None when only one reading was taken.
        blockers: the jobs for which its partitions wait, as the workers report them.
        waits: what the jobs that workers have taken wait for, as the workers report it; None where none does.
        fill: how full it is; None where it has no bound.
        retention: how long the queue declares to keep jobs.
        orders: the pauses, blocks and cancels by filter that hold back or end jobs of it.
        obstacles: why waiting jobs do not run, each with how to fix it; empty when they do or nothing waits.
    """

    name: str
    backlogs: tuple[Backlog, ...]
    dead: int | None
    dead_at_most: int
    group: ConsumerGroup
    pace: Pace | None
    obstacles: tuple[str, ...]
    blockers: tuple[BlockerReport, ...] = ()
    waits: WaitingSum | None = None
    fill: Fill | None = None
    retention: timedelta = timedelta.max
    orders: tuple[ControlOrder, ...] = ()

    @property
    def waiting(self) -> int:
        """Jobs on all topics: as published, in tiers and in delays, and those that were carried forward."""
        return sum(backlog.waiting for backlog in self.backlogs)

    @property
    def lag(self) -> int:
        """Jobs on the main topic, and on those of priorities."""
        return sum(backlog.waiting for backlog in self.backlogs if backlog.source.is_entry)

    @property
    def oldest(self) -> datetime | None:
        """When the oldest job was published that is to run as soon as it may; tiers and delays wait by intent."""
        known = (backlog.oldest for backlog in self.backlogs if not backlog.source.is_delayed)
        return min(filter(None, known), default=None)


def inspect_queues(
    view: ClusterView, queues: Sequence[Queue], reading: OffsetReading, before: OffsetReading | None
) -> list[QueueStatus]:
    """Put together what a reading shows.

    Args:
        before: an earlier reading, for the pace.

    Raises:
        ClusterUnreachable: no answer in time.
    """
    heads = waiting_heads(view, queues, reading)
    groups = view.groups(queue.group for queue in queues)
    statuses = [_status(queue, reading, before, heads, groups[queue.group]) for queue in queues]
    now = datetime.now(UTC)
    with_workers = [queue for queue, status in zip(queues, statuses, strict=True) if _is_reported_on(status)]
    blockers = read_blockers(view, with_workers, reading.counts, now)
    stands = still_partitions(queues, before, reading, heads, now) if before is not None else []
    explained = [_explained(one, queue, reading, blockers, now) for queue, one in zip(queues, statuses, strict=True)]
    return [_with_silent(one, queue, stands, now) for queue, one in zip(queues, explained, strict=True)]


def still_partitions(
    queues: Iterable[Queue], before: OffsetReading, after: OffsetReading, heads: Heads, now: datetime
) -> list[Standstill]:
    """The partitions whose offset did not move between two readings, though their job has been ready for long.

    Args:
        heads: as of the second reading.
    """
    parts = partitions_of([topic for queue in queues for topic in queue.job_topics], after.counts)
    known = [part for part in parts if part in before.ends and after.lag(part)]
    ready = {part: _ready_since(heads.get(part)) for part in known if may_have_waiting(part, heads)}
    return standstills(
        {part: before.position(part) for part in known}, {part: after.position(part) for part in known}, after.ends,
        ready, now,
    )  # fmt: skip


def _ready_since(head: StoredJob | None) -> datetime | None:
    return None if head is None else max(head.at, due_of(head) or head.at)


def is_at_work(status: QueueStatus) -> bool:
    """Whether jobs wait that could run, and workers have shared out their partitions."""
    return _is_reported_on(status) and any(map(is_runnable, status.backlogs))


def _is_reported_on(status: QueueStatus) -> bool:
    """Whether jobs wait, perhaps only for their time, and workers have shared out their partitions."""
    return status.group.state == "stable" and bool(status.group.members) and bool(status.waiting)


def _explained(
    status: QueueStatus, queue: Queue, reading: OffsetReading, blockers: BlockerReports, now: datetime
) -> QueueStatus:
    """The status with the reports of the queue's workers."""
    if not _is_reported_on(status):
        return status
    waits = sum_of(blockers.waiting, queue.name, {member.client_id for member in status.group.members})
    if not is_at_work(status):
        return replace(status, waits=waits)
    positions = [(part, reading.position(part)) for part in partitions_of(queue.job_topics, reading.counts)]
    found = tuple(blockers.believed(queue, status.group, positions))
    stands = status.pace is not None and status.pace.done_per_s == 0
    more = reported_obstacles(found, blockers.fault, len(status.group.members), now, stands=stands)
    return replace(status, blockers=found, waits=waits, obstacles=(*status.obstacles, *more))


def _with_silent(status: QueueStatus, queue: Queue, stands: Sequence[Standstill], now: datetime) -> QueueStatus:
    """The status with the partitions that did not move and that no worker reports on."""
    if not is_at_work(status):
        return status
    silent = unexplained(stands, queue.job_topics, {report.partition for report in status.blockers})
    return replace(status, obstacles=(*status.obstacles, *silent_obstacles(silent, now)))


def _status(
    queue: Queue, reading: OffsetReading, before: OffsetReading | None, heads: Heads, group: ConsumerGroup
) -> QueueStatus:
    backlogs = tuple(_backlog(topic, source, reading, heads) for topic, source in sources_of(queue).items())
    runnable = sum(backlog.waiting for backlog in backlogs if is_runnable(backlog))
    pace = _pace(queue, before, reading) if before else None
    dead_at_most = sum(
        reading.ends[part] - reading.starts[part] for part in partitions_of([queue.dead_topic], reading.counts)
    )
    return QueueStatus(
        name=queue.name,
        backlogs=backlogs,
        dead=None if dead_at_most else 0,
        dead_at_most=dead_at_most,
        group=group,
        pace=pace,
        obstacles=tuple(visible_obstacles(queue, runnable, reading, heads, group)),
        fill=fill_of(queue, reading.unfinished),
        retention=queue.retention,
    )


def _backlog(topic: str, source: Source, reading: OffsetReading, heads: Heads) -> Backlog:
    partitions = partitions_of([topic], reading.counts)
    waiting = sum(reading.lag(part) for part in partitions if may_have_waiting(part, heads))
    found = [head for part in partitions if (head := heads.get(part)) is not None]
    return Backlog(
        topic=topic,
        source=source,
        exists=topic in reading.counts,
        waiting=waiting,
        oldest=min((head.enqueued_at if source is CARRIED else head.at for head in found), default=None),
        due=min(filter(None, map(due_of, found)), default=None) if source.is_delayed else None,
    )


def due_of(record: StoredJob) -> datetime | None:
    """When a job that waits may start; None if the record has no readable due time."""
    written = record.headers.get(wire.DUE)
    try:
        return wire.parse_instant(written) if written else None
    except ValueError:
        return None


def _pace(queue: Queue, before: OffsetReading, after: OffsetReading) -> Pace:
    elapsed_s = max(after.taken_at_s - before.taken_at_s, 1e-3)
    main = [part for part in partitions_of(queue.entry_topics, after.counts) if part in before.ends]
    jobs = [part for part in partitions_of(queue.job_topics, after.counts) if part in before.ends]
    return Pace(
        enqueued_per_s=sum(after.ends[part] - before.ends[part] for part in main) / elapsed_s,
        done_per_s=sum(after.position(part) - before.position(part) for part in jobs) / elapsed_s,
    )


def is_runnable(backlog: Backlog) -> bool:
    """Whether a job of it could run now: on the main topic at once, elsewhere when it is due."""
    return backlog.waiting > 0 and (backlog.due is None or backlog.due <= datetime.now(UTC))


def count_open_dead_letters(cluster: ClusterSettings, queue: Queue) -> int:
    """Count the open dead letters, by reading the topic.

    Raises:
        StoredJobsError: the topic is absent, or reading it stalled.
    """
    reader = DeadLetterReader(cluster, queue)
    return sum(1 for _ in reader.dead_letters(reader.survey(), Selection()))
