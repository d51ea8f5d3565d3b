"""`InspectionParts`: what shows people the state of the worker."""

from __future__ import annotations

from dataclasses import dataclass

from ..dispatch.dispatch import Dispatch
from ..inspection.holdups import Holdups
from ..inspection.lag import QueueLag
from ..inspection.overview import Overview, OverviewParts
from ..inspection.waiting_counts import WaitingCounts
from .context import QueueContext
from .group import GroupParts
from .partitions import PartitionParts
from .polling import PollingParts
from .settling import SettlingParts


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectionParts:
    """The poll thread brings them up to date; `overview` and `waiting_counts` may be asked by any thread."""

    lag: QueueLag
    overview: Overview
    waiting_counts: WaitingCounts
    holdups: Holdups


def make_inspection(
    context: QueueContext,
    partitions: PartitionParts,
    settling: SettlingParts,
    dispatch: Dispatch,
    polling: PollingParts,
    group: GroupParts,
) -> InspectionParts:
    """Make them."""
    queue, worker_id = context.queue, context.worker_id
    return InspectionParts(
        lag=QueueLag(partitions.assignments, group.member, group.tiers, group.priorities, polling.backpressure),
        overview=Overview(
            queue,
            worker_id,
            OverviewParts(
                assignments=partitions.assignments,
                backpressure=polling.backpressure,
                calendar=polling.calendar,
                dispatch=dispatch,
                membership=group.membership,
                rights=partitions.rights,
            ),
        ),
        waiting_counts=WaitingCounts(queue, worker_id, polling.calendar, dispatch, settling.events),
        holdups=Holdups(
            queue,
            worker_id=worker_id,
            calendar=polling.calendar,
            dispatch=dispatch,
            settler=settling.settler,
            events=settling.events,
        ),
    )
