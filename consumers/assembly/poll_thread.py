"""`PollThreadParts`: what the poll thread counts: its turns, the records in memory, and those that are complete."""

from __future__ import annotations

from dataclasses import dataclass

from ..delays.calendar import Calendar
from ..delays.due_times import longest_wait_s
from ..in_flight.completion import Completion
from ..in_flight.memory_bounds import MemoryBounds
from ..in_flight.ready_supply import ReadySupply, may_overtake
from ..in_flight.settled import SettledBatches
from ..partitions.assignments import Assignments
from ..poll_thread_state import PollThreadState
from .queue_context import QueueContext
from .running import RunningParts


@dataclass(frozen=True, slots=True, kw_only=True)
class PollThreadParts:
    """`calendar` has the delayed records, `memory_bounds` the bounds of all others, `completion` counts them out."""

    poll_state: PollThreadState
    calendar: Calendar
    memory_bounds: MemoryBounds
    completion: Completion


def make_poll_thread_parts(
    context: QueueContext, assignments: Assignments, settled: SettledBatches, running: RunningParts
) -> PollThreadParts:
    """Make them, without records."""
    calendar = Calendar(longest_wait_s(context.queue), reschedules=context.orders.reschedules)
    memory_bounds = MemoryBounds(
        assignments,
        context.settings,
        running.counts.count_taking_no_room,
        settled,
        is_draining=running.counts.is_draining,
        ready_supply=_make_ready_supply(context, running),
        ready=running.ready,
    )
    return PollThreadParts(
        poll_state=PollThreadState(),
        calendar=calendar,
        memory_bounds=memory_bounds,
        completion=Completion(settled, memory_bounds, running.runners, running.lanes),
    )


def _make_ready_supply(context: QueueContext, running: RunningParts) -> ReadySupply | None:
    """None where jobs that are not fetched yet may have their turn first."""
    if may_overtake(context.queue, context.job_types):
        return None
    return ReadySupply(lambda: running.lanes.parking.is_nearly_full, lambda: running.runners.ready)
