"""`PartitionParts`: what knows the worker's partitions, commits their progress, and watches its rights."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from ..commits.commits import Commits
from ..commits.spill import Spill
from ..group.rights_watch import RightsWatch, ask_cluster
from ..kafka.clients import spilling_producer
from ..partitions.assignments import Assignments
from .queue_context import QueueContext


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionParts:
    """The first group: it needs no other."""

    assignments: Assignments
    rights: RightsWatch
    commits: Commits


def make_partitions(context: QueueContext) -> PartitionParts:
    """Make them; no partition is assigned yet."""
    queue, cluster = context.queue, context.cluster
    assignments = Assignments(queue)
    rights = RightsWatch(queue, ask_cluster(context.pipeline, queue, cluster))
    spill = Spill(queue, partial(spilling_producer, cluster, context.worker_id))
    commits = Commits(assignments, spill, context.settings.commit_interval, rights.alarm, context.instruments)
    return PartitionParts(assignments=assignments, rights=rights, commits=commits)
