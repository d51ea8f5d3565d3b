"""`QueueParts`: the table of contents of one queue's worker. `make_queue` makes it, group by group."""

from __future__ import annotations

from dataclasses import dataclass

from ...topology.tracing.tracers import find_tracing
from ..dispatch.cancelled_jobs import CancelledJobs
from ..inspection.view import QueueView
from ..queue_controls import QueueControls
from ..queue_worker import QueueWorker
from ..tracing.run_spans import RunSpans
from .gating import GatingParts, make_gating
from .group import GroupParts, make_group
from .inspection import InspectionParts, make_inspection
from .partitions import PartitionParts, make_partitions
from .poll_thread import PollThreadParts, make_poll_thread_parts
from .queue_context import QueueContext
from .running import RunningParts, make_running, make_step_context
from .settling import SettlingParts, make_settling
from .worker import make_worker


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueParts:
    """One queue's worker: what the process calls, and the groups of parts behind that, each made of those before it.

    Attributes:
        worker: the loop of the poll thread.
        controls: takes what operators order.
        view: shows people its state.
    """

    context: QueueContext
    worker: QueueWorker
    controls: QueueControls
    view: QueueView
    partitions: PartitionParts
    settling: SettlingParts
    gating: GatingParts
    running: RunningParts
    poll_thread: PollThreadParts
    group: GroupParts
    inspection: InspectionParts


def make_queue(context: QueueContext) -> QueueParts:
    """Make all parts of one queue's worker; none of them runs yet."""
    tracing = find_tracing()
    spans = None if tracing is None else RunSpans(tracing, context.queue)
    partitions = make_partitions(context)
    assignments = partitions.assignments
    settling = make_settling(context, assignments, spans)
    gating = make_gating(context, assignments)
    running = make_running(
        make_step_context(context, assignments, settling, gating, spans),
        settling.settler,
        settling.events,
        context.settings,
        waits=gating.waits,
    )
    poll_thread = make_poll_thread_parts(context, assignments, settling.settled, running)
    group = make_group(context, partitions, settling, running, poll_thread)
    inspection = make_inspection(context, partitions, settling, running, poll_thread, group)
    return QueueParts(
        context=context,
        worker=make_worker(context, partitions, settling, running, poll_thread, group, inspection),
        controls=_make_controls(context, settling, gating, running),
        view=_make_view(context, poll_thread, inspection),
        partitions=partitions,
        settling=settling,
        gating=gating,
        running=running,
        poll_thread=poll_thread,
        group=group,
        inspection=inspection,
    )


def _make_controls(
    context: QueueContext, settling: SettlingParts, gating: GatingParts, running: RunningParts
) -> QueueControls:
    queue = context.queue.name
    return QueueControls(
        queue,
        gating.pauses,
        gating.limits,
        cancelled=CancelledJobs(queue, context.orders.cancels, gating.gates.wait_set, running.watchdog),
        excuse=running.excuse,
        decoder=gating.decoder,
        events=settling.events,
    )


def _make_view(context: QueueContext, poll_thread: PollThreadParts, inspection: InspectionParts) -> QueueView:
    return QueueView(
        context.queue.name, poll_thread.poll_state, inspection.overview, poll_thread.completion, inspection.unfinished
    )
