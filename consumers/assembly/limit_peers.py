"""`make_limit_peers`: the threads by which other processes take part in one queue's limits, with their clients."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ...producers.control.log_reader import END_MS, LogReader
from ...topology.declaration.limits import shared_limits
from ...topology.declaration.topics import reserves_limits
from ..kafka.clients import limits_producer, make_reader
from ..kafka.log_writer import LogWriter
from ..limits.limits import LimitPeers, Limits, Startable
from ..reservations.clients import LevelLogReader
from ..reservations.ports import ReservationParts
from ..reservations.reservations import Reservations
from ..shares.ports import SharesParts
from ..shares.shares import Shares
from ..turn_thread import TurnThread
from .queue_context import QueueContext

MakeThread = Callable[[Limits], Startable]


def make_limit_peers(
    context: QueueContext, *, owns_first: Callable[[], bool], on_crash: Callable[[BaseException], None]
) -> LimitPeers:
    """Name what makes the threads that ask for shares and write reservations, as far as the queue needs them.

    Args:
        owns_first: whether this process owns the first partition of the queue.
        on_crash: called when one of the threads ends in an error.
    """
    shares = _make_shares(context, owns_first, on_crash)
    reservations = _make_reservations(context, on_crash)
    return LimitPeers(
        coordinators=context.pipeline.share_coordinators,
        is_reserving=reservations is not None,
        make_threads=[make for make in (shares, reservations) if make is not None],
    )


def _make_shares(
    context: QueueContext, owns_first: Callable[[], bool], on_crash: Callable[[BaseException], None]
) -> MakeThread | None:
    """Make what makes the thread; None where the queue has no part in shared limits."""
    pipeline, queue, cluster, worker_id = context.pipeline, context.queue, context.cluster, context.worker_id
    shared = shared_limits(pipeline.queues.values(), pipeline.job_types.values())
    coordinators = pipeline.share_coordinators
    if not any(declared.queue == queue.name for declared in shared):
        return None
    parts = SharesParts(
        queue=queue.name,
        worker_id=worker_id,
        given={declared.name: declared.limit for declared in shared if coordinators[declared.name] == queue.name},
        owns_first=owns_first,
        make_reader=partial(
            LogReader,
            cluster,
            pipeline.shares_topic,
            client_id=f"{worker_id}-shares",
            options={"fetch.wait.max.ms": END_MS},
        ),
        make_writer=lambda: LogWriter(lambda: limits_producer(cluster, f"{worker_id}-shares"), pipeline.shares_topic),
    )
    return lambda limits: TurnThread(Shares(limits.sharing, parts), f"stoker-shares-{queue.name}", queue.name, on_crash)


def _make_reservations(context: QueueContext, on_crash: Callable[[BaseException], None]) -> MakeThread | None:
    """Make what makes the thread; None where the queue has no limits of which reservations are written."""
    queue, cluster, worker_id = context.queue, context.cluster, context.worker_id
    if not reserves_limits(context.pipeline, queue):
        return None
    topic = queue.limits_topic
    parts = ReservationParts(
        queue=queue.name,
        topic=topic,
        make_reader=lambda: LevelLogReader(
            make_reader(cluster, queue, f"{worker_id}-limits", {"fetch.wait.max.ms": END_MS}), topic
        ),
        make_writer=lambda: LogWriter(lambda: limits_producer(cluster, f"{worker_id}-reservations"), topic),
    )
    name = f"stoker-reservations-{queue.name}"
    return lambda limits: TurnThread(Reservations(limits.reservations, parts), name, queue.name, on_crash)
