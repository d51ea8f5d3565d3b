"""The target of an order to pause or to block: exactly one, of which each part exists."""

from __future__ import annotations

from typing import Final

from ...schemas.own_records.control_records import ControlOrder
from ...topology import Pipeline
from .errors import OrderRefused

ONE_TARGET: Final = "name one target: a queue, a job type, a tenant, a queue with a key, or a queue with a partition"
ONE_BLOCKED: Final = "name a job type, a tenant, or a queue with a key; a whole queue is paused"


def check_target(order: ControlOrder, pipeline: Pipeline) -> None:
    """See that an order names one target.

    Raises:
        OrderRefused: it names none, several, or a partition that the queue does not have.
        UnknownName: there is no such queue or job type.
    """
    named = [found for found in (order.job_type, order.tenant, order.queue) if found is not None]
    within = [found for found in (order.key, order.partition) if found is not None]
    if len(named) != 1 or len(within) > 1 or (within and order.queue is None):
        raise OrderRefused(order.verb, ONE_TARGET)
    if order.queue is not None:
        _check_queue(order, pipeline, order.queue)
    if order.job_type is not None:
        pipeline.find_job_type(order.job_type)


def check_blocked(order: ControlOrder, pipeline: Pipeline) -> None:
    """Check the target of a block; raises as `check_target`."""
    if order.queue is not None and order.key is None:
        raise OrderRefused(order.verb, ONE_BLOCKED)
    check_target(order, pipeline)


def check_block(order: ControlOrder, pipeline: Pipeline) -> None:
    """See that a block names what and why; raises as `check_target`."""
    check_blocked(order, pipeline)
    if not order.reason.strip():
        raise OrderRefused(order.verb, "it needs a reason, for those who find it later")


def _check_queue(order: ControlOrder, pipeline: Pipeline, name: str) -> None:
    partitions = pipeline.find_queue(name).partitions
    if order.partition is not None and not 0 <= order.partition < partitions:
        raise OrderRefused(
            order.verb, f"queue {name!r} has the partitions 0 to {partitions - 1}, not {order.partition}"
        )
