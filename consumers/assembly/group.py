"""`GroupParts`: what takes partitions and their records from the group and its topics, and gives them back."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from confluent_kafka import TopicPartition

from ..declared.intake_features import DeclaredIntake, IntakeParts, make_intake
from ..group.connection import GroupConnection
from ..group.member import GroupMember
from ..group.membership import Membership, view_group
from ..kafka.clients import longest_callback_s
from ..partitions.counterparts import find_missing
from ..partitions.restore_thread import Restoring
from ..progress.assignment import Assignment
from ..rebalance.grace import Grace
from ..rebalance.partition_reading import PartitionReading
from ..rebalance.rebalance import Rebalance
from ..rebalance.taking_back import TakingBack
from ..settling.settle import Settler
from .carrying import CarryingParts, make_carrying
from .partitions import PartitionParts
from .poll_thread import PollThreadParts
from .queue_context import QueueContext
from .readers import ReaderParts, make_readers
from .running import RunningParts
from .settling import SettlingParts


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupParts:
    """`member` has the group's consumer; `readers` read what that consumer leaves paused."""

    restoring: Restoring
    readers: ReaderParts
    rebalance: Rebalance
    membership: Membership
    member: GroupMember
    intake: DeclaredIntake


def make_group(
    context: QueueContext,
    partitions: PartitionParts,
    settling: SettlingParts,
    running: RunningParts,
    poll_thread: PollThreadParts,
) -> GroupParts:
    """Make the parts; none has joined the group yet."""
    restoring = _make_restoring(context, partitions, settling.settler)
    readers = make_readers(context)
    carrying = make_carrying(context, partitions.assignments, running, readers.rereader)
    rebalance = _make_rebalance(partitions, running, poll_thread, restoring, readers, carrying)
    membership = Membership(context.queue, partial(view_group, context.cluster, context.queue, context.worker_id))
    member = _make_member(context, partitions, settling, poll_thread, rebalance, membership)
    intake = make_intake(
        IntakeParts(
            assignments=partitions.assignments,
            memory_bounds=poll_thread.memory_bounds,
            calendar=poll_thread.calendar,
            lanes=running.lanes,
            gates=running.gates,
            unbegun=running.unbegun,
            cancels=context.orders.cancels,
            fair=running.fair,
            read_ahead=running.read_ahead,
            rebalance=rebalance,
            rereader=readers.rereader,
            carrier=carrying.carrier,
            restored=carrying.restored,
            on_error=member.note_error,
            find_end=partial(_find_end, member, readers),
            instruments=context.instruments,
        )
    )
    return GroupParts(
        restoring=restoring,
        readers=readers,
        rebalance=rebalance,
        membership=membership,
        member=member,
        intake=intake,
    )


def _make_rebalance(
    partitions: PartitionParts,
    running: RunningParts,
    poll_thread: PollThreadParts,
    restoring: Restoring,
    readers: ReaderParts,
    carrying: CarryingParts,
) -> Rebalance:
    return Rebalance(
        partitions.assignments,
        restoring,
        partitions.commits,
        reading=PartitionReading(
            partitions.assignments,
            running.unbegun,
            running.lanes,
            memory_bounds=poll_thread.memory_bounds,
            side_reader=readers.side_reader,
            priorities=readers.priorities,
            restored=carrying.restored,
        ),
        taking_back=TakingBack(
            running.unbegun,
            poll_thread.memory_bounds,
            poll_thread.calendar,
            rereader=readers.rereader,
            carrier=carrying.carrier,
            restored=carrying.restored,
        ),
        carrier=carrying.carrier,
        threads=running.threads,
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


def _find_end(member: GroupMember, readers: ReaderParts, assignment: Assignment) -> int:
    """Find where the log of an assignment ends, as far as the client that reads it knows."""
    consumer = readers.priorities.consumers.get(assignment.source.reader, member.consumer)
    return consumer.get_watermark_offsets(TopicPartition(assignment.topic, assignment.partition), cached=True)[1]


def _make_restoring(context: QueueContext, partitions: PartitionParts, settler: Settler) -> Restoring:
    return Restoring(
        context.queue,
        context.cluster,
        find_missing=lambda numbers: find_missing(settler.producer, context.queue, numbers),
        on_restored=partitions.assignments.receive_restored,
        on_trouble=partitions.rights.alarm,
    )
