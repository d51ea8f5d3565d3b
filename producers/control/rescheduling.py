"""Orders to start jobs at another time, before they are given."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from ...schemas.own_records.control_records import ControlOrder
from ...topology import Pipeline, Queue
from .cancelling import cancel_until
from .errors import OrderRefused

LOOK_UP_FOR: Final = timedelta(minutes=1)
"""For how long the place of a job is looked up: a million waiting jobs or more, 25,000 a second on a busy machine."""


def reschedule_order(
    order: ControlOrder, pipeline: Pipeline, job_id: str, at: datetime | None, *, now: bool
) -> ControlOrder:
    """The order to start a job at a time, without its place.

    Raises:
        OrderRefused: no job is named, or not one time.
    """
    if not job_id:
        raise OrderRefused(order.verb, "the job's id is empty")
    if (at is not None) == now:
        raise OrderRefused(order.verb, "name one time: at an instant, or now")
    due_at = order.at if at is None else at
    if due_at.tzinfo is None:
        raise OrderRefused(order.verb, f"{due_at} has no time zone")
    until = order.until or cancel_until(pipeline, max(due_at, order.at))
    if until.tzinfo is not None and until <= due_at:  # one without a time zone is refused later
        raise OrderRefused(
            order.verb, f"it would be over before its time: until is {until}, and the job is due {due_at}"
        )
    return replace(order, job_id=job_id, due_at=due_at, until=until)


def queues_of(pipeline: Pipeline, queue: str | None) -> Collection[Queue]:
    """Where a job may be."""
    return list(pipeline.queues.values()) if queue is None else [pipeline.find_queue(queue)]
