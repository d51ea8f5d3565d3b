"""`LoadReader`: observes the load of queues: offsets, workers' statuses, what they wait for, limits and statistics."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from statistics import fmean
from typing import Final

from ...consumers.dispatch.unbegun_records import TENANTS_TURN
from ...producers.admission.depth import unfinished
from ...producers.control.answers import LastStatus
from ...producers.control.standing import read_standing_orders, read_workers
from ...schemas.own_records.control_records import QueueShare
from ...topology import ClusterSettings, Pipeline, Queue
from ...topology.declaration.limits import Rate
from ...topology.wire.orders import Verb
from ..cluster_view import ClusterView, partitions_of
from ..control.limit_list import SeenLimit, seen_limits
from ..queue_status.offset_reading import OffsetReading, read_offsets
from ..queue_status.queues import QueueStatus, inspect_queues
from ..statistics.histograms import middle_s
from ..statistics.reading import TypeStatistics, read_statistics_if_any
from .load import LimitAdmission, QueueLoad

SEEN_S: Final = 120.0
STATISTICS_OF: Final = timedelta(minutes=1)
YOUNG: Final = timedelta(seconds=60)
"""A worker process that is younger may still start."""
NO_HOLD: Final = frozenset({TENANTS_TURN.state})
"""Reasons of gates that let more jobs pass where more workers run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedFleet:
    """The workers' part of the observation, of all queues.

    Attributes:
        statuses: the last statuses of those that live.
        limits: as they are in force.
        statistics: {queue: its figures of the last minute}; nothing where none are kept now.
        types: {queue: names of its job types}.
        schedules: {queue: how many schedules the application declares for it}.
    """

    statuses: Sequence[LastStatus]
    limits: Sequence[SeenLimit]
    statistics: Mapping[str, TypeStatistics]
    types: Mapping[str, Sequence[str]]
    schedules: Mapping[str, int]


class LoadReader:
    """Takes readings of some queues; rates are those from one reading to the next."""

    def __init__(
        self,
        pipeline: Pipeline,
        cluster: ClusterSettings,
        queues: Sequence[Queue],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.pipeline, self._cluster, self._queues, self._clock = pipeline, cluster, queues, clock
        self._view = ClusterView(cluster)
        self._before: OffsetReading | None = None

    def begin(self) -> None:
        """Take the first reading, from which rates are measured. Raises as `read`."""
        self._before = read_offsets(self._view, self._queues)

    def read(self) -> list[QueueLoad]:
        """Take a reading; the load of each queue, in their order.

        Raises:
            ClusterUnreachable: no answer in time.
            ReadStalled: the records that wait could not be read in time.
        """
        reading = read_offsets(self._view, self._queues)
        statuses = inspect_queues(self._view, self._queues, reading, self._before)
        fleet, before = self._fleet(), self._before
        self._before = reading
        return [
            load_of(queue, status, (before, reading), fleet)
            for queue, status in zip(self._queues, statuses, strict=True)
        ]

    def _fleet(self) -> ObservedFleet:
        now_s = self._clock()
        statuses = read_workers(self.pipeline, self._cluster, now_s - SEEN_S).statuses
        living = [one for one in statuses if one.is_living(now_s)]
        orders = read_standing_orders(self.pipeline, self._cluster, (Verb.LIMIT,), with_jobs=False)
        found = read_statistics_if_any(self.pipeline, self._cluster, STATISTICS_OF)
        return ObservedFleet(
            statuses=living,
            limits=seen_limits(self.pipeline, orders, living, now_s),
            statistics=found.by_queue() if found.is_fresh else {},
            types={
                queue.name: [job.name for job in self.pipeline.job_types.values() if job.queue.name == queue.name]
                for queue in self._queues
            },
            schedules=Counter(schedule.queue.name for schedule in self.pipeline.schedules.values()),
        )


def load_of(
    queue: Queue, status: QueueStatus, readings: tuple[OffsetReading | None, OffsetReading], fleet: ObservedFleet
) -> QueueLoad:
    """Put together what is known of one queue. Pure.

    Args:
        readings: an earlier one, for the rates, and that which the status is of.
    """
    before, now = readings
    shares = [share for one in fleet.statuses for share in one.status.queues if share.queue == queue.name]
    runners, busy = _runners(shares)
    arriving, done = (None, None) if before is None else _rates(queue, before, now)
    return QueueLoad(
        queue=queue.name,
        at_s=now.taken_at_s,
        partitions=now.counts.get(queue.topic, queue.partitions),
        backlog=_prompt(queue, status, now),
        later=sum(backlog.waiting for backlog in status.backlogs if backlog.source.is_delayed),
        schedules=fleet.schedules.get(queue.name, 0),
        oldest_s=_age_s(status.oldest),
        arriving_per_s=arriving,
        done_per_s=done,
        workers=len(status.group.members),
        runners=runners,
        busy=busy,
        run_s=mean_run_s(fleet.statistics.get(queue.name)),
        not_runnable=_not_runnable(status),
        admissions=tuple(_admissions(fleet, queue)),
        is_settled=status.group.state == "stable" and not any(map(_is_young, _of_queue(fleet.statuses, shares))),
        trouble=_trouble(status),
    )


def _runners(shares: Sequence[QueueShare]) -> tuple[float | None, int | None]:
    """Runners of a worker on average, and the busy ones of all; None each where no worker has reported."""
    if not shares:
        return None, None
    return fmean(share.runners for share in shares), sum(share.busy for share in shares)


def mean_run_s(statistics: TypeStatistics | None) -> float | None:
    """How long a run took on average, exact to 3 %; None where none has ended, or no metrics count."""
    if statistics is None:
        return None
    buckets = statistics.tally.run.buckets()
    count = sum(buckets.values())
    return sum(middle_s(bucket) * many for bucket, many in buckets.items()) / count if count else None


def _prompt(queue: Queue, status: QueueStatus, reading: OffsetReading) -> int | None:
    """Jobs without an outcome that do not wait by intent; None where a topic is missing."""
    if any(topic not in reading.counts for topic in queue.entry_topics):
        return None
    return _unfinished(reading, [backlog.topic for backlog in status.backlogs if not backlog.source.is_delayed])


def _unfinished(reading: OffsetReading, topics: Iterable[str]) -> int:
    parts = partitions_of(topics, reading.counts)
    return sum(unfinished(reading.commits.get(part), reading.starts[part], reading.ends[part]) for part in parts)


def _rates(queue: Queue, before: OffsetReading, now: OffsetReading) -> tuple[float | None, float | None]:
    """Jobs a second that became ready to run, and that ended; None each where topics are new."""
    elapsed_s = now.taken_at_s - before.taken_at_s
    topics = [topic for topic in queue.job_topics if topic in now.counts]
    known = before.ends.keys()
    if elapsed_s <= 0 or any(part not in known for part in partitions_of(topics, now.counts)):
        return None, None
    written = {topic: _written(before, now, topic) for topic in topics}
    ended = {
        topic: max(written[topic] - _unfinished(now, [topic]) + _unfinished(before, [topic]), 0) for topic in topics
    }
    entries = set(queue.entry_topics)
    published = sum(count for topic, count in written.items() if topic in entries)
    woken = sum(count for topic, count in ended.items() if topic not in entries)
    return (published + woken) / elapsed_s, sum(ended.values()) / elapsed_s


def _written(before: OffsetReading, now: OffsetReading, topic: str) -> int:
    return sum(now.ends[part] - before.ends[part] for part in partitions_of([topic], now.counts))


def _age_s(oldest: datetime | None) -> float | None:
    return None if oldest is None else max((datetime.now(UTC) - oldest).total_seconds(), 0.0)


def _not_runnable(status: QueueStatus) -> dict[str, int]:
    if status.waits is None:
        return {}
    held = {why: count for why, count in status.waits.held.items() if why not in NO_HOLD}
    return {why: count for why, count in {"key": status.waits.key, **held}.items() if count}


def _admissions(fleet: ObservedFleet, queue: Queue) -> Iterable[LimitAdmission]:
    """The limits that count all jobs of the queue together."""
    types = fleet.types.get(queue.name, ())
    owners = {f"queue {queue.name!r}", *(f"job type {name!r}" for name in types if len(types) == 1)}
    for seen in fleet.limits:
        if seen.is_lifted or not seen.is_of_all or owners.isdisjoint(seen.owners):
            continue
        limit = seen.in_force
        if isinstance(limit, Rate):
            yield LimitAdmission(limit=seen.name, per_s=limit.count / limit.per.total_seconds())
        else:
            yield LimitAdmission(limit=seen.name, running=limit.count)


def _of_queue(statuses: Iterable[LastStatus], shares: Sequence[QueueShare]) -> list[LastStatus]:
    return [one for one in statuses if any(share in shares for share in one.status.queues)]


def _is_young(seen: LastStatus) -> bool:
    return seen.status.at - seen.status.started_at < YOUNG


def _trouble(status: QueueStatus) -> str:
    if status.group.members and status.group.state != "stable":
        return "its group is assigning partitions"
    return ""
