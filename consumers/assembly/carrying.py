"""`CarryingParts`: what carries waiting records forward, and what becomes of carried ones at their next owner."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from ..backlog.rereader import Rereader
from ..carrying.carrier import Carrier, CarryingClients
from ..carrying.copies_aside import CopiesAside
from ..carrying.old_offsets import OldOffsets
from ..carrying.restored_jobs import RestoredJobs
from ..kafka.clients import carrying_producer, make_reader
from ..partitions.assignments import Assignments
from .queue_context import QueueContext
from .running import RunningParts


@dataclass(frozen=True, slots=True, kw_only=True)
class CarryingParts:
    """`carrier` writes copies, `restored` has the jobs of the carried topic when a partition is restored."""

    carrier: Carrier
    restored: RestoredJobs


def make_carrying(
    context: QueueContext, assignments: Assignments, running: RunningParts, rereader: Rereader
) -> CarryingParts:
    """Make them; nothing waits yet."""
    queue, cluster, worker_id, lanes = context.queue, context.cluster, context.worker_id, running.lanes
    clients = CarryingClients(
        ages=OldOffsets(queue.name, partial(make_reader, cluster, queue, f"{worker_id}-ages", {})),
        make_producer=partial(carrying_producer, cluster, worker_id),
    )
    return CarryingParts(
        carrier=Carrier(queue, assignments, lanes, running.gates, rereader, clients=clients),
        restored=RestoredJobs(queue.topic, CopiesAside(lanes.backlog, lanes.lines), running.gates.aside),
    )
