"""`Facts` for the doctor, gathered once; the checks over them ask no broker."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar

from confluent_kafka import KafkaException

from ...topology import Pipeline, Queue
from ...topology.cluster.settings import ClusterUnreachable, NotAuthorized
from ..cluster_view import ClusterView, ConsumerGroup, Partition, partitions_of
from ..queue_status.blocker_reports import NO_BLOCKERS, BlockerReports, read_blockers
from ..queue_status.offset_reading import Heads, OffsetReading, may_have_waiting, read_offsets, waiting_heads
from ..queue_status.queue_heads import read_heads
from ..queue_status.queues import still_partitions
from ..queue_status.standstill import Standstill
from ..stored_jobs.dead_letter_counts import RecentDeadLetters, count_recent
from ..stored_jobs.stored_job import StoredJob

T = TypeVar("T")
Configs = Mapping[str, Mapping[str, str]]

RECENT = timedelta(hours=1)
LOOK_AGAIN_S: Final = (1.0, 11.0)
"""A partition of a busy queue moves within the first; after the second, its worker has reported what it waits for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """One moment of a cluster, as far as a pipeline is concerned.

    Attributes:
        brokers: {id: host:port}.
        replicas: {topic: (replicas of each record, replicas in sync)}.
        heads: {partition: its oldest waiting job}, from `read_heads`.
        dead_heads: the same for the oldest records of the dead-letter topics, dispositions among them.
        recent_dead: {dead-letter topic: the dead letters of the last hour}; None where they could not be counted.
        groups: {consumer group: it}.
        blockers: what the workers report of jobs that hold up others.
        standstills: the partitions that did not move between two readings.
        topic_configs, group_configs, broker_config: what the cluster is set to; empty where it may not be asked.
        refused: the rights for want of which they are empty.
    """

    now: datetime
    brokers: Mapping[int, str]
    replicas: Mapping[str, tuple[int, int]]
    reading: OffsetReading
    heads: Mapping[Partition, StoredJob | None]
    dead_heads: Mapping[Partition, StoredJob | None]
    recent_dead: Mapping[str, RecentDeadLetters | None]
    groups: Mapping[str, ConsumerGroup]
    topic_configs: Configs
    group_configs: Configs
    broker_config: Mapping[str, str]
    blockers: BlockerReports = NO_BLOCKERS
    standstills: tuple[Standstill, ...] = ()
    refused: Sequence[NotAuthorized] = ()

    def has(self, topic: str) -> bool:
        """Whether the cluster has the topic."""
        return topic in self.reading.counts

    def waiting(self, queue: Queue) -> int:
        """Jobs of the queue that wait, on its waiting topics as well."""
        return sum(self.reading.lag(part) for part in self.job_partitions(queue) if may_have_waiting(part, self.heads))

    def waiting_jobs(self, queue: Queue) -> list[StoredJob]:
        """The oldest waiting job of each of the queue's partitions."""
        return [head for part in self.job_partitions(queue) if (head := self.heads.get(part)) is not None]

    def job_partitions(self, queue: Queue) -> list[Partition]:
        """Partitions of all topics of jobs."""
        return partitions_of(queue.job_topics, self.reading.counts)


def gather(view: ClusterView, pipeline: Pipeline) -> Facts:
    """Ask the cluster for everything that the checks need.

    Raises:
        ClusterUnreachable: no broker answered.
        NotAuthorized: topics or groups may not be looked at. Settings that may not are left empty instead.
    """
    queues, refused = list(pipeline.queues.values()), list[NotAuthorized]()
    brokers = view.brokers()
    now = datetime.now(UTC)
    reading = read_offsets(view, queues)
    topics = [topic for queue in queues for topic in _topics(queue) if topic in reading.counts]
    dead = {
        part: reading.starts[part]
        for part in _dead_partitions(queues, reading)
        if reading.ends[part] > reading.starts[part]
    }
    names = [queue.group for queue in queues]
    heads, groups = waiting_heads(view, queues, reading), view.groups(names)
    stands = _standstills(view, [queue for queue in queues if groups[queue.group].members], reading, heads)
    return Facts(
        now=now,
        brokers=brokers,
        replicas=view.replicas(),
        reading=reading,
        heads=heads,
        dead_heads=read_heads(view.cluster, dead, timeout_s=view.timeout_s),
        recent_dead={topic: count_recent(view.cluster, topic, now - RECENT) for topic in {topic for topic, _ in dead}},
        groups=groups,
        topic_configs=_if_allowed(refused, lambda: view.topic_configs(topics), {}),
        group_configs=_if_allowed(refused, lambda: view.group_configs(names), {}),
        broker_config=_if_allowed(refused, lambda: view.broker_config(min(brokers)), {}),
        blockers=read_blockers(view, queues, reading.counts, datetime.now(UTC)),
        standstills=tuple(stands),
        refused=refused,
    )


def _standstills(view: ClusterView, queues: list[Queue], reading: OffsetReading, heads: Heads) -> list[Standstill]:
    """Look again at the offsets, where a job has been ready for long: soon, and where it stands then, once more."""
    found = still_partitions(queues, reading, reading, heads, datetime.now(UTC))
    for pause_s in LOOK_AGAIN_S:
        if found:
            time.sleep(pause_s)
            later = replace(reading, committed=_committed(view, queues, reading))
            found = still_partitions(queues, reading, later, heads, datetime.now(UTC))
    return found


def _committed(view: ClusterView, queues: list[Queue], reading: OffsetReading) -> dict[Partition, int]:
    committed: dict[Partition, int] = {}
    for queue in queues:
        committed |= view.committed(queue.group, partitions_of(queue.job_topics, reading.counts))
    return committed


def _topics(queue: Queue) -> list[str]:
    return [*queue.job_topics, queue.dead_topic, queue.ledger_topic, queue.progress_topic]


def _dead_partitions(queues: list[Queue], reading: OffsetReading) -> list[Partition]:
    return partitions_of([queue.dead_topic for queue in queues], reading.counts)


def _if_allowed(refused: list[NotAuthorized], ask: Callable[[], T], otherwise: T) -> T:
    """The answer, unless the broker is too old for the question or refuses it, which is added to `refused`."""
    try:
        return ask()
    except ClusterUnreachable:
        raise
    except NotAuthorized as refusal:
        refused.append(refusal)
        return otherwise
    except KafkaException:
        return otherwise
