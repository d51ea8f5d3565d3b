"""`InspectionParts`: what shows people the state of the worker."""

from __future__ import annotations

from dataclasses import dataclass

from ..inspection.blockers import BlockerParts, Blockers
from ..inspection.overview import Overview, OverviewParts
from ..inspection.unfinished import UnfinishedCount
from ..inspection.waiting_counts import WaitingCounts
from .group import GroupParts
from .partitions import PartitionParts
from .poll_thread import PollThreadParts
from .queue_context import QueueContext
from .running import RunningParts
from .settling import SettlingParts


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectionParts:
    """The poll thread brings them up to date; `overview` and `waiting_counts` may be asked by any thread."""

    unfinished: UnfinishedCount
    overview: Overview
    waiting_counts: WaitingCounts
    blockers: Blockers


def make_inspection(
    context: QueueContext,
    partitions: PartitionParts,
    settling: SettlingParts,
    running: RunningParts,
    poll_thread: PollThreadParts,
    group: GroupParts,
) -> InspectionParts:
    """Make them."""
    queue, worker_id, at_gates = context.queue, context.worker_id, running.gates.view
    return InspectionParts(
        unfinished=UnfinishedCount(
            partitions.assignments,
            group.member,
            group.readers.side_reader,
            group.readers.priorities,
            poll_thread.memory_bounds,
        ),
        overview=Overview(
            queue,
            worker_id,
            OverviewParts(
                assignments=partitions.assignments,
                memory_bounds=poll_thread.memory_bounds,
                calendar=poll_thread.calendar,
                at_gates=at_gates,
                unbegun=running.counts,
                runners=running.runners,
                watchdog=running.watchdog,
                membership=group.membership,
                rights=partitions.rights,
            ),
        ),
        waiting_counts=WaitingCounts(queue, worker_id, poll_thread.calendar, at_gates, running.counts, settling.events),
        blockers=Blockers(
            queue,
            worker_id,
            BlockerParts(
                calendar=poll_thread.calendar,
                lanes=running.lanes,
                at_gates=at_gates,
                unbegun=running.unbegun,
                watchdog=running.watchdog,
                settler=settling.settler,
            ),
            settling.events,
        ),
    )
