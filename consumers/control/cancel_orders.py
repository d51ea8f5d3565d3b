"""`CancelOrders`: orders to cancel jobs, by their ids or by a filter; they fill `Cancels`, and end what runs."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection
from datetime import datetime
from typing import Final

from ...schemas.own_records.control_records import ControlOrder
from ...topology.wire.orders import Verb, cancel_key, cancelled_by
from ..records.cancellation import Cancellation
from ..standing_orders.cancel_filters import CancelFilter
from ..standing_orders.cancels import Cancels, name_of_job
from .order_remover import OrderRemover
from .order_takers import OrderTaker, utc_now
from .worker_process import EndCancelled

FORGET_INTERVAL_S: Final = 60.0
"""How often the cancels that are over are let go of, which looks at all of them."""
OVER_WITHIN_S: Final = 60.0
"""Workers that start together find the same old orders: each waits for a while of its own before it removes them."""


class CancelOrders(OrderTaker):
    """Keeps 16 bytes of a job's id, not the order: there may be a hundred thousand.

    The order to cancel a job is removed from the control topic by the worker in which that job has ended. Of those
    that are over at their `until`, a worker that starts removes what it finds.
    """

    def __init__(
        self,
        cancels: Cancels,
        end_cancelled: EndCancelled,
        end_cancelled_aside: EndCancelled,
        remover: OrderRemover,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        """Begin without any.

        Args:
            end_cancelled, end_cancelled_aside: as `WorkerProcess` has them.
        """
        self._cancels = cancels
        self._end_cancelled, self._end_cancelled_aside = end_cancelled, end_cancelled_aside
        self._remover = remover
        self._clock = clock
        self._has_new = self._has_new_filter = False
        self._over: dict[bytes, str] = {}
        self._remove_over_at_s = 0.0
        self._next_forgetting_at_s = 0.0
        self._filters: set[str] = set()  # `Cancels` has those of blocks as well, which `BlockOrders` ends
        self._jobs_not_seen: set[bytes] = set()
        self._filters_not_seen: set[str] = set()

    @property
    def verbs(self) -> Collection[str]:
        """The verb of cancels."""
        return (Verb.CANCEL,)

    def take(self, key: bytes, order: ControlOrder, *, is_new: bool) -> None:
        """Hold to it, until the job has ended or its time is over."""
        self._remover.note_taken(key, order.order_id)
        if order.is_over(self._clock()):
            self.lift(key)
            self._note_over(key, order.order_id)
            return
        self._over.pop(key, None)
        self._has_new = True
        if order.job_id is None:
            self._has_new_filter = True
            self._filters.add(order.order_id)
            self._filters_not_seen.discard(order.order_id)
            begin_filter(self._cancels, order)
        else:
            if self._jobs_not_seen:
                self._jobs_not_seen.discard(name_of_job(order.job_id.encode()))
            self._cancels.begin_job(order.job_id, cancellation_of(order), until_at_s(order))

    def lift(self, key: bytes) -> None:
        """Let go of it; the job runs, if it has not ended."""
        self._remover.note_lifted(key)
        self._end(key)

    def remove(self, key: bytes, order_id: str) -> None:
        """Let go of it, unless it is a newer one."""
        self._remover.note_removed(key, order_id)
        job_id, _ = cancelled_by(key)
        if job_id is None or self._cancels.order_about(job_id) in (None, order_id):
            self._end(key)

    def _end(self, key: bytes) -> None:
        self._over.pop(key, None)
        job_id, order_id = cancelled_by(key)
        if job_id is not None:
            self._cancels.end_job(job_id)
        elif order_id is not None:
            self._end_filter(order_id)

    def _end_filter(self, order_id: str) -> None:
        self._filters.discard(order_id)
        self._cancels.end_filter(order_id)

    def carry_out(self) -> None:
        """End what runs and is cancelled by now; remove the orders that have nothing left to do."""
        if self._has_new:
            end = self._end_cancelled_aside if self._has_new_filter else self._end_cancelled
            self._has_new = self._has_new_filter = False
            end()
        for job_id, order_id in self._cancels.take_ended():
            self._remover.remove_soon(cancel_key(job_id), order_id, "the job has ended")

    def let_go_of_old(self) -> None:
        """Let go of those that are over, now and then."""
        now_s = time.monotonic()
        if self._over and now_s >= self._remove_over_at_s:
            self._remove_over()
        if self._cancels.stands and now_s >= self._next_forgetting_at_s:
            self._next_forgetting_at_s = now_s + FORGET_INTERVAL_S
            self._cancels.forget_old(self._clock().timestamp())
            self._filters &= self._cancels.filter_ids

    def begin_rereading(self) -> None:
        """Note what stands."""
        self._jobs_not_seen, self._filters_not_seen = self._cancels.job_names, set(self._filters)

    def end_rereading(self) -> None:
        """Let go of what was lifted without this process having seen it."""
        jobs, self._jobs_not_seen = self._jobs_not_seen, set()
        filters, self._filters_not_seen = self._filters_not_seen, set()
        self._cancels.end_jobs(jobs)
        for order_id in filters:
            self._end_filter(order_id)

    def close(self, within_s: float) -> None:
        """Remove the orders of what has ended at last."""
        self.carry_out()

    def _note_over(self, key: bytes, order_id: str) -> None:
        if not self._over:
            self._remove_over_at_s = time.monotonic() + OVER_WITHIN_S * random.random()
        self._over[key] = order_id

    def _remove_over(self) -> None:
        for key, order_id in self._over.items():
            self._remover.remove_soon(key, order_id, "its time is over")
        self._over = {}


def cancellation_of(order: ControlOrder) -> Cancellation:
    """Who has given an order, and why."""
    return Cancellation(operator=f"{order.operator}@{order.host}", reason=order.reason, order_id=order.order_id)


def until_at_s(order: ControlOrder) -> float:
    """When an order is over, in epoch seconds."""
    return float("inf") if order.until is None else order.until.timestamp()


def begin_filter(cancels: Cancels, order: ControlOrder) -> None:
    """Cancel the jobs that an order names."""
    wanted = CancelFilter(
        queue=order.queue,
        job_type=None if order.job_type is None else order.job_type.encode(),
        key=order.key,
        tenant=None if order.tenant is None else order.tenant.encode(),
        before=order.before,
    )
    cancels.begin_filter(order.order_id, wanted, cancellation_of(order), until_at_s(order))
