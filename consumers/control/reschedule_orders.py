"""`RescheduleOrders`, `PriorityOrders`: jobs that were given another time or priority; both fill `Reschedules`."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from datetime import datetime
from typing import Final

from ...schemas.own_records.control_records import ControlOrder
from ...topology.wire.orders import (
    PRIORITY,
    Verb,
    prioritize_key,
    prioritized_by,
    reschedule_key,
    rescheduled_by,
)
from ..standing_orders.cancels import name_of_job
from ..standing_orders.reschedules import Reschedules
from .order_remover import OrderRemover
from .order_takers import OrderTaker, utc_now

FORGET_INTERVAL_S: Final = 60.0
"""How often the reschedules that are over are forgotten, which looks at all of them."""


class RescheduleOrders(OrderTaker):
    """Keeps 16 bytes of a job's id and an instant, not the order.

    An order is removed from the control topic by the worker in which its job has begun, once that is settled; one that
    is over at its `until` by a worker that finds it so.
    """

    def __init__(
        self, reschedules: Reschedules, remover: OrderRemover, clock: Callable[[], datetime] = utc_now
    ) -> None:
        self._reschedules, self._remover, self._clock = reschedules, remover, clock
        self._not_seen: set[bytes] = set()
        self._next_forgetting_at_s = 0.0

    @property
    def verbs(self) -> Collection[str]:
        """The verb of reschedules."""
        return (Verb.RESCHEDULE,)

    def take(self, key: bytes, order: ControlOrder, *, is_new: bool) -> None:
        """Hold to it, until the job has begun or its time is over."""
        if order.job_id is None or order.due_at is None or order.until is None:
            raise ValueError("an order to reschedule names a job, a time, and until when it stands")
        self._remover.note_taken(key, order.order_id)
        if order.is_over(self._clock()):
            self.lift(key)
            self._remover.remove_soon(key, order.order_id, "its time is over")
            return
        if self._not_seen:
            self._not_seen.discard(name_of_job(order.job_id.encode()))
        at = None if order.place is None else (order.place.topic, order.place.partition, order.place.offset)
        self._reschedules.begin(
            order.job_id, order.due_at.timestamp(), order.until.timestamp(), at, order_id=order.order_id
        )

    def lift(self, key: bytes) -> None:
        """End it; the job starts at its own time."""
        self._remover.note_lifted(key)
        self._reschedules.end(rescheduled_by(key))

    def remove(self, key: bytes, order_id: str) -> None:
        """End it, unless it is a newer one."""
        self._remover.note_removed(key, order_id)
        job_id = rescheduled_by(key)
        if self._reschedules.order_about(job_id) == order_id:
            self._reschedules.end(job_id)

    def carry_out(self) -> None:
        """Remove the orders whose jobs have begun."""
        for job_id, order_id in self._reschedules.take_ended():
            self._remover.remove_soon(reschedule_key(job_id), order_id, "the job has begun")

    def let_go_of_old(self) -> None:
        """Forget those that are over, now and then."""
        now_s = time.monotonic()
        if self._reschedules.stands and now_s >= self._next_forgetting_at_s:
            self._next_forgetting_at_s = now_s + FORGET_INTERVAL_S
            self._reschedules.forget_old(self._clock().timestamp())

    def begin_rereading(self) -> None:
        """Note what stands."""
        self._not_seen = self._reschedules.names

    def end_rereading(self) -> None:
        """End what was removed without this process having seen it."""
        not_seen, self._not_seen = self._not_seen, set()
        self._reschedules.end_all(not_seen)

    def close(self, within_s: float) -> None:
        """Remove the orders of jobs that have begun at last."""
        self.carry_out()


class PriorityOrders(OrderTaker):
    """The order was written together with the copy of the job that runs: so the job's first record must not.

    An order is removed from the control topic a while after the worker has settled that record; one that is over at its
    `until` by a worker that finds it so.
    """

    def __init__(
        self, reschedules: Reschedules, remover: OrderRemover, clock: Callable[[], datetime] = utc_now
    ) -> None:
        self._reschedules, self._remover, self._clock = reschedules, remover, clock
        self._not_seen: set[str] = set()

    @property
    def verbs(self) -> Collection[str]:
        """The verb of other priorities."""
        return (Verb.PRIORITIZE,)

    def take(self, key: bytes, order: ControlOrder, *, is_new: bool) -> None:
        """Pass over the job's first record from now on."""
        place, priority = order.place, order.detail.get(PRIORITY)
        if order.job_id is None or place is None or priority is None or order.until is None:
            raise ValueError("an order to prioritize names a job, its place, its priority, and until when it stands")
        self._remover.note_taken(key, order.order_id)
        if order.is_over(self._clock()):
            self.lift(key)
            self._remover.remove_soon(key, order.order_id, "its time is over")
            return
        self._not_seen.discard(order.job_id)
        origin = f"{place.topic}/{place.partition}/{place.offset}"
        self._reschedules.prioritize(order.job_id, origin, priority, order.until.timestamp(), order_id=order.order_id)

    def lift(self, key: bytes) -> None:
        """End it: the job's first record has been passed over."""
        self._remover.note_lifted(key)
        self._reschedules.end_prioritized({prioritized_by(key)})

    def remove(self, key: bytes, order_id: str) -> None:
        """End it, unless it is a newer one."""
        self._remover.note_removed(key, order_id)
        self._reschedules.end_prioritized_by(order_id)

    def carry_out(self) -> None:
        """Remove the orders whose records were passed over."""
        for job_id, order_id in self._reschedules.take_passed(time.monotonic()):
            self._remover.remove_soon(prioritize_key(job_id), order_id, "its first record was passed over")

    def begin_rereading(self) -> None:
        """Note what stands."""
        self._not_seen = self._reschedules.prioritized

    def end_rereading(self) -> None:
        """End what was removed without this process having seen it."""
        not_seen, self._not_seen = self._not_seen, set()
        self._reschedules.end_prioritized(not_seen)
