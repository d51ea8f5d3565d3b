"""Orders to cancel jobs: by their ids, of which one call may name a great many, or by a filter."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import islice
from typing import Final

from ...schemas.own_records.control_records import ControlOrder
from ...topology import Pipeline
from ...topology.wire.orders import FILTER_ORDER, Verb
from .errors import OrderRefused

STANDS_FOR: Final = timedelta(days=30)
"""A cancel is over after this time, or after the longest time that a queue keeps its jobs, if that is longer.

A waiting job comes to a worker's hands within its queue's retention, however far off it is due.
"""
AT_ONCE: Final = 10_000
"""Jobs that are cancelled in one transaction: some seconds of the brokers' work, well within its timeout."""
NAME_JOBS: Final = "name the jobs by their ids, or by a filter: a queue, a job type, a key, a tenant, or their age"
NAME_LIFTED: Final = "name the jobs by their ids, or the order that has cancelled them by a filter"


def cancel_until(pipeline: Pipeline, now: datetime) -> datetime:
    """When a cancel of now is over, unless its operator sets a time."""
    return now + max([STANDS_FOR, *(queue.retention for queue in pipeline.queues.values())])


def cancels(
    order: ControlOrder, pipeline: Pipeline, job_ids: Collection[str], older_than: timedelta | datetime | None
) -> list[ControlOrder]:
    """The orders that cancel these jobs, or those that the fields of the order name as a filter.

    Raises:
        OrderRefused: nothing is named, or ids and a filter, or what is named makes no sense.
        UnknownName: there is no such queue or job type.
    """
    order = replace(order, until=order.until or cancel_until(pipeline, order.at))
    if not job_ids:
        return [cancel_by_filter(order, pipeline, older_than)]
    if any(found is not None for found in (*_filter_of(order), older_than)):
        raise OrderRefused(order.verb, NAME_JOBS)
    return cancels_by_id(order, job_ids)


def _filter_of(order: ControlOrder) -> tuple[object, ...]:
    return order.queue, order.job_type, order.key, order.tenant


def cancels_by_id(order: ControlOrder, job_ids: Iterable[str]) -> list[ControlOrder]:
    """One order for each job, all with the id of the order.

    Raises:
        OrderRefused: an id is empty.
    """
    wanted = list(dict.fromkeys(job_ids))
    if not all(wanted):
        raise OrderRefused(order.verb, "a job's id is empty")
    return [replace(order, job_id=job_id) for job_id in wanted]


def cancel_by_filter(order: ControlOrder, pipeline: Pipeline, older_than: timedelta | datetime | None) -> ControlOrder:
    """The order for jobs that were enqueued before it, or earlier.

    Raises:
        OrderRefused: it names no jobs, or has no reason.
        UnknownName: there is no such queue or job type.
    """
    if all(found is None for found in (*_filter_of(order), older_than)):
        raise OrderRefused(order.verb, NAME_JOBS)
    if not order.reason.strip():
        raise OrderRefused(order.verb, "by a filter it needs a reason, for those who find it later")
    if order.queue is not None:
        pipeline.find_queue(order.queue)
    if order.job_type is not None:
        pipeline.find_job_type(order.job_type)
    before = order.at if older_than is None else _instant(older_than, order.at)
    return replace(order, before=before)


def _instant(older_than: timedelta | datetime, now: datetime) -> datetime:
    if isinstance(older_than, timedelta):
        if older_than < timedelta(0):
            raise OrderRefused(Verb.CANCEL, f"an age is positive, and not {older_than}")
        return now - older_than
    if older_than.tzinfo is None:
        raise OrderRefused(Verb.CANCEL, f"{older_than} has no time zone")
    return min(older_than, now)


def uncancels(order: ControlOrder, job_ids: Collection[str], filter_order: str | None) -> list[ControlOrder]:
    """The orders that lift cancels.

    Raises:
        OrderRefused: they name neither jobs nor an order, or both.
    """
    if bool(job_ids) == (filter_order is not None):
        raise OrderRefused(order.verb, NAME_LIFTED)
    if filter_order is not None:
        return [replace(order, detail={FILTER_ORDER: filter_order})]
    return cancels_by_id(order, job_ids)


def chunks(orders: list[ControlOrder]) -> Iterator[list[ControlOrder]]:
    """Orders in their order, as many as one transaction takes."""
    left = iter(orders)
    while chunk := list(islice(left, AT_ONCE)):
        yield chunk
