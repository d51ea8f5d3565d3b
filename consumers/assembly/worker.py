"""`make_worker`: makes the loop of the poll thread from the objects that its turns use."""

from __future__ import annotations

from functools import partial

from ..followers.late_jobs import LateJobs
from ..inspection.reports import Reports
from ..kafka.clients import settling_producer
from ..poll_loop.fetching import Fetching
from ..poll_loop.housekeeping import Housekeeping
from ..poll_loop.look_ahead import LookAhead
from ..poll_loop.owned_partitions import OwnedPartitions
from ..poll_loop.poll_timeout import PollTimeout
from ..poll_loop.priority_fetching import PriorityFetching
from ..poll_loop.shutdown import Shutdown
from ..poll_loop.worker_threads import WorkerThreads
from ..queue_worker import QueueWorker
from .group import GroupParts
from .inspection import InspectionParts
from .partitions import PartitionParts
from .poll_thread import PollThreadParts
from .queue_context import QueueContext
from .running import RunningParts
from .settling import SettlingParts


def make_worker(
    context: QueueContext,
    partitions: PartitionParts,
    settling: SettlingParts,
    running: RunningParts,
    poll_thread: PollThreadParts,
    group: GroupParts,
    inspection: InspectionParts,
) -> QueueWorker:
    """Make the last part, which needs all others; its thread does not run yet."""
    owned = _make_owned(partitions, poll_thread, group)
    fetching = _make_fetching(running, poll_thread, group)
    threads = WorkerThreads(
        running.threads,
        settling.settler,
        _make_late_jobs(context, settling, running),
        restoring=group.restoring,
        rights=partitions.rights,
        followers=settling.followers,
    )
    heavy_tenants = group.intake.heavy_tenants
    housekeeping = Housekeeping(
        owned,
        settler=settling.settler,
        rights=partitions.rights,
        reports=Reports(inspection.overview, inspection.blockers, inspection.waiting_counts),
        events=settling.events,
        unfinished=inspection.unfinished,
        look_ahead=None if heavy_tenants is None else LookAhead(heavy_tenants, inspection.unfinished),
    )
    shutdown = Shutdown(
        poll_thread.poll_state,
        context.settings.grace,
        partitions=owned,
        fetching=fetching,
        threads=threads,
        wake=settling.settled.wake,
        close_events=settling.close_events,
    )
    return QueueWorker(
        context.queue.name,
        poll_thread.poll_state,
        partitions=owned,
        housekeeping=housekeeping,
        fetching=fetching,
        threads=threads,
        shutdown=shutdown,
    )


def _make_fetching(running: RunningParts, poll_thread: PollThreadParts, group: GroupParts) -> Fetching:
    priorities = PriorityFetching(group.readers.priorities, poll_thread.memory_bounds)
    return Fetching(
        group.member,
        group.readers.side_reader,
        priorities,
        intake=group.intake,
        memory_bounds=poll_thread.memory_bounds,
        ahead=running.read_ahead,
        timeout=PollTimeout(
            poll_thread.calendar,
            running.gates,
            running.lanes.backlog,
            group.intake.reread,
            group.rebalance,
            poll_thread.completion,
            has_priorities=bool(priorities),
        ),
    )


def _make_late_jobs(context: QueueContext, settling: SettlingParts, running: RunningParts) -> LateJobs:
    make_producer = partial(settling_producer, context.cluster, f"{context.worker_id}-late")
    return LateJobs(context.queue, settling.late_notes, settling.stories, make_producer, running.unbegun.waiting)


def _make_owned(partitions: PartitionParts, poll_thread: PollThreadParts, group: GroupParts) -> OwnedPartitions:
    return OwnedPartitions(
        partitions.assignments,
        group.member,
        rebalance=group.rebalance,
        commits=partitions.commits,
        memory_bounds=poll_thread.memory_bounds,
        completion=poll_thread.completion,
        close_readers=group.readers.close,
    )
