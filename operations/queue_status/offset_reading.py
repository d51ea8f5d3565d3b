"""`OffsetReading`: the offsets of some queues at one moment, and the records at which their groups stand."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from confluent_kafka import TopicPartition

from ...topology import Queue
from ..cluster_view import ClusterView, Partition, partitions_of
from ..stored_jobs.stored_job import StoredJob
from .fill import count_unfinished
from .queue_heads import read_heads

Heads = Mapping[Partition, StoredJob | None]
"""{partition: the record at which its group stands}: None where there is none; those that were not read are absent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OffsetReading:
    """The offsets of some queues at one moment.

    Attributes:
        taken_at_s: a monotonic clock's reading.
        counts: {topic: partitions} of the cluster.
        unfinished: {partition: jobs without an outcome} of the queues that bound them.
        commits: {partition: the group's commit}, with its metadata.
    """

    taken_at_s: float
    counts: Mapping[str, int]
    starts: Mapping[Partition, int]
    ends: Mapping[Partition, int]
    committed: Mapping[Partition, int]
    unfinished: Mapping[Partition, int] = field(default_factory=dict)
    commits: Mapping[Partition, TopicPartition] = field(default_factory=dict)

    def position(self, partition: Partition) -> int:
        """Where the group stands."""
        return max(self.committed.get(partition, 0), self.starts[partition])

    def lag(self, partition: Partition) -> int:
        """Records between the group and the end."""
        return max(self.ends[partition] - self.position(partition), 0)


def read_offsets(
    view: ClusterView, queues: Sequence[Queue], clock: Callable[[], float] = time.monotonic
) -> OffsetReading:
    """Ask for the offsets of the queues.

    Raises:
        ClusterUnreachable: no answer in time.
    """
    counts = view.topics()
    topics = [topic for queue in queues for topic in (*queue.job_topics, queue.dead_topic)]
    partitions = partitions_of(topics, counts)
    commits: dict[Partition, TopicPartition] = {}
    for queue in queues:
        commits |= view.commits_of(queue.group, partitions_of(queue.job_topics, counts))
    ends = view.end_offsets(partitions)  # after the commits, so that no commit is beyond the end it is compared with
    starts = view.start_offsets(partitions)
    unfinished: dict[Partition, int] = {}
    for queue in queues:
        unfinished |= count_unfinished(queue, commits, starts, ends)
    committed = {partition: commit.offset for partition, commit in commits.items()}
    return OffsetReading(
        taken_at_s=clock(),
        counts=counts,
        starts=starts,
        ends=ends,
        committed=committed,
        unfinished=unfinished,
        commits=commits,
    )


def waiting_heads(view: ClusterView, queues: Sequence[Queue], reading: OffsetReading) -> Heads:
    """Read the record at which each partition stands, where one waits."""
    topics = [topic for queue in queues for topic in queue.job_topics]
    stands = [partition for partition in partitions_of(topics, reading.counts) if reading.lag(partition)]
    positions = {partition: reading.position(partition) for partition in stands}
    return read_heads(view.cluster, positions, timeout_s=view.timeout_s)


def may_have_waiting(partition: Partition, heads: Heads) -> bool:
    """Whether a partition counts as one where jobs wait: unless its head is known to be absent."""
    return partition not in heads or heads[partition] is not None
