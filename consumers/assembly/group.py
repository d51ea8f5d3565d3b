"""`GroupParts`: what takes partitions and their records from the group and its topics, and gives them back."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from ..backlog.rereader import SWEEP_OPTIONS, Rereader
from ..carrying.carrier import Carrier, CarryingClients
from ..carrying.copies_aside import CopiesAside
from ..carrying.old_offsets import OldOffsets
from ..carrying.restored_jobs import RestoredJobs
from ..declared.intake_features import DeclaredIntake, IntakeParts, make_intake
from ..group.connection import GroupConnection
from ..group.member import GroupMember
from ..group.membership import Membership, view_group
from ..kafka.clients import carrying_producer, longest_callback_s, make_reader
from ..kafka.side_readers import PriorityReaders, SideReader
from ..partitions.assignments import Assignments
from ..partitions.counterparts import find_missing
from ..partitions.restore_thread import Restoring
from ..rebalance.grace import Grace
from ..rebalance.partition_reading import PartitionReading
from ..rebalance.rebalance import Rebalance
from ..rebalance.taking_back import TakingBack
from ..records.source import Priority
from ..settling.settle import Settler
from .partitions import PartitionParts
from .poll_thread import PollThreadParts
from .queue_context import QueueContext
from .running import RunningParts
from .settling import SettlingParts


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupParts:
    """`member` has the group's consumer; `tiers`, `priorities` and `rereader` read what that consumer leaves paused."""

    restoring: Restoring
    tiers: SideReader
    priorities: PriorityReaders
    rereader: Rereader
    rebalance: Rebalance
    membership: Membership
    member: GroupMember
    intake: DeclaredIntake

    def close_readers(self) -> None:
        """Disconnect all consumers but the group's."""
        self.tiers.close()
        self.priorities.close()
        self.rereader.close()


def make_group(
    context: QueueContext,
    partitions: PartitionParts,
    settling: SettlingParts,
    running: RunningParts,
    poll_thread: PollThreadParts,
) -> GroupParts:
    """Make the parts; none has joined the group yet."""
    queue, cluster, lanes = context.queue, context.cluster, running.lanes
    restoring = _make_restoring(context, partitions, settling.settler)
    tiers, priorities = _make_side_readers(context)
    rereader = Rereader(make_reader(cluster, queue, f"{context.worker_id}-rereader", SWEEP_OPTIONS))
    restored = RestoredJobs(queue.topic, CopiesAside(lanes.backlog, lanes.lines), running.gates.aside)
    carrier = _make_carrier(context, partitions.assignments, running, rereader)
    rebalance = Rebalance(
        partitions.assignments,
        restoring,
        partitions.commits,
        reading=PartitionReading(
            partitions.assignments,
            running.unbegun,
            lanes,
            memory_bounds=poll_thread.memory_bounds,
            tiers=tiers,
            priorities=priorities,
            restored=restored,
        ),
        taking_back=TakingBack(
            running.unbegun,
            poll_thread.memory_bounds,
            poll_thread.calendar,
            rereader=rereader,
            carrier=carrier,
            restored=restored,
        ),
        carrier=carrier,
        threads=running.threads,
    )
    membership = Membership(queue, partial(view_group, cluster, queue, context.worker_id))
    member = _make_member(context, partitions, settling, poll_thread, rebalance, membership)
    intake = make_intake(
        IntakeParts(
            assignments=partitions.assignments,
            memory_bounds=poll_thread.memory_bounds,
            calendar=poll_thread.calendar,
            lanes=lanes,
            gates=running.gates,
            unbegun=running.unbegun,
            cancels=context.orders.cancels,
            fair=running.fair,
            read_ahead=running.read_ahead,
            rebalance=rebalance,
            rereader=rereader,
            carrier=carrier,
            restored=restored,
            on_error=member.note_error,
            instruments=context.instruments,
        )
    )
    return GroupParts(
        restoring=restoring,
        tiers=tiers,
        priorities=priorities,
        rereader=rereader,
        rebalance=rebalance,
        membership=membership,
        member=member,
        intake=intake,
    )


def _make_member(
    context: QueueContext,
    partitions: PartitionParts,
    settling: SettlingParts,
    poll_thread: PollThreadParts,
    rebalance: Rebalance,
    membership: Membership,
) -> GroupMember:
    queue, cluster = context.queue, context.cluster
    grace_s = min(context.settings.revoke_grace.total_seconds(), longest_callback_s(cluster))
    return GroupMember(
        queue,
        GroupConnection(cluster, queue, context.worker_id, partitions.commits.note_answer),
        assignments=partitions.assignments,
        rebalance=rebalance,
        grace=Grace(poll_thread.poll_state, poll_thread.completion, settling.settled, within_s=grace_s),
        rights=partitions.rights,
        membership=membership,
    )


def _make_restoring(context: QueueContext, partitions: PartitionParts, settler: Settler) -> Restoring:
    return Restoring(
        context.queue,
        context.cluster,
        find_missing=lambda numbers: find_missing(settler.producer, context.queue, numbers),
        on_restored=partitions.assignments.receive_restored,
        on_trouble=partitions.rights.alarm,
    )


def _make_side_readers(context: QueueContext) -> tuple[SideReader, PriorityReaders]:
    """The consumer of tiers and delays, and one for each priority but the normal one."""
    make = partial(make_reader, context.cluster, context.queue)
    priorities = {
        Priority(name): SideReader(make(f"{context.worker_id}-{name}", {})) for name in context.queue.priority_topics
    }
    return SideReader(make(f"{context.worker_id}-tiers", {})), PriorityReaders(priorities)


def _make_carrier(
    context: QueueContext, assignments: Assignments, running: RunningParts, rereader: Rereader
) -> Carrier:
    queue, cluster, worker_id = context.queue, context.cluster, context.worker_id
    return Carrier(
        queue,
        assignments,
        running.lanes,
        running.gates,
        rereader,
        clients=CarryingClients(
            ages=OldOffsets(queue.name, partial(make_reader, cluster, queue, f"{worker_id}-ages", {})),
            make_producer=partial(carrying_producer, cluster, worker_id),
        ),
    )
