"""`GuardPauses`: the pauses that dead guards order, as an operator would, and that an operator ends."""

from __future__ import annotations

import logging
import socket
import time
import uuid
from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Final

from confluent_kafka import KafkaError

from ...schemas.own_records.control_records import ControlOrder
from ...schemas.own_records.job_events import EventSubject, JobEvent, WorkerDecided
from ...topology.wire.orders import Verb, order_key
from .. import log_keys
from ..breakers.dead_guards import DeadGuards, TooManyDead
from ..gates.pauses import Pauses
from .order_takers import OrderTaker
from .own_orders import OwnOrder, OwnOrders
from .pause_orders import PauseOrders, pause_of

_LOGGER = logging.getLogger("stoker.control")

DEAD_GUARD: Final = "dead-guard"
"""The reason of events about guards, and the beginning of who orders their pauses."""
WRITE_AGAIN_S: Final = 5.0


class GuardPauses(OrderTaker):
    """Pauses a job type at once in this process, and for the whole fleet with the order that follows."""

    def __init__(
        self,
        guards: DeadGuards,
        pauses: Mapping[str, Pauses],
        standing: PauseOrders,
        own_orders: OwnOrders,
        publish: Callable[[JobEvent], None],
        worker_id: str,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Begin without any.

        Args:
            pauses: {queue: the pauses of this process}.
            standing: takes the orders when they are read.
        """
        self._pauses, self._standing, self._own_orders = pauses, standing, own_orders
        self._publish, self._worker_id, self._clock = publish, worker_id, clock
        self._to_write: deque[tuple[ControlOrder, TooManyDead]] = deque()
        self._again: list[tuple[float, ControlOrder]] = []
        self._unwritten: dict[str, ControlOrder] = {}
        guards.report_to(self.trip)

    @property
    def verbs(self) -> Collection[str]:
        """None: its orders are pauses, which `PauseOrders` takes."""
        return ()

    def take(self, key: bytes, order: ControlOrder, *, is_new: bool) -> None:
        """No order is given to it."""

    def trip(self, found: TooManyDead) -> None:
        """Pause a job type; called by any thread, which has noted the dead letter that was too much."""
        order = ControlOrder(
            order_id=str(uuid.uuid4()),
            verb=Verb.PAUSE,
            operator=f"{DEAD_GUARD} of worker {self._worker_id}",
            host=socket.gethostname(),
            at=datetime.fromtimestamp(self._clock(), UTC),
            job_type=found.job_type,
            reason=found.reason,
        )
        order = replace(order, reason=order.reason[:1_000])
        for queue, pauses in self._pauses.items():
            pauses.begin(pause_of(order, queue))
        self._to_write.append((order, found))

    def carry_out(self) -> None:
        """Write the orders, and log each pause."""
        while self._to_write:
            self._begin(*self._to_write.popleft())
        now_s = self._clock()
        due, self._again = [o for at_s, o in self._again if at_s <= now_s], [a for a in self._again if a[0] > now_s]
        for order in due:
            if self._standing.under(order_key(order).encode()) == order:  # else an operator has ended it
                self._write(order)
            else:
                self._unwritten.pop(order.order_id, None)

    def begin_rereading(self) -> None:
        """Keep the pauses that are not on the topic yet; `PauseOrders` has noted all that stand, as it comes first."""
        for order in self._unwritten.values():
            self._standing.keep(order_key(order).encode(), order)

    def _begin(self, order: ControlOrder, found: TooManyDead) -> None:
        key = order_key(order).encode()
        if self._standing.under(key) is not None:  # the order of another one must not lose its reason
            self._end(order)
            return
        self._standing.take(key, order, is_new=True)
        self._write(order)
        _LOGGER.error(
            "job type %r is paused for all workers, until `stoker control resume --type %s`: %s",
            found.job_type, found.job_type, found.reason,
            extra={log_keys.JOB_TYPE: found.job_type, log_keys.QUEUE: found.queue, log_keys.ORDER: order.order_id},
        )  # fmt: skip
        self._publish(
            WorkerDecided(
                subject=EventSubject(job_id="", job_type=found.job_type, queue=found.queue, topic=""),
                at=order.at,
                worker=self._worker_id,
                reason=DEAD_GUARD,
                phase="paused",
                more={"order": order.order_id, "why": found.reason},
            )
        )

    def _end(self, order: ControlOrder) -> None:
        for queue, pauses in self._pauses.items():
            pauses.end(pause_of(order, queue))

    def _write(self, order: ControlOrder) -> None:
        self._unwritten[order.order_id] = order
        on_answer = partial(self._note_answer, order)
        self._own_orders.write(OwnOrder(order=order, is_audited=True, on_answer=on_answer))

    def _note_answer(self, order: ControlOrder, error: KafkaError | None) -> None:
        if error is not None:
            self._again.append((self._clock() + WRITE_AGAIN_S, order))
        else:
            self._unwritten.pop(order.order_id, None)
