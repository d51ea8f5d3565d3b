"""`BreakerOrders`: the orders by which breakers are open, read from the control topic, and written by this worker."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable, Collection
from functools import partial
from typing import Final

from confluent_kafka import KafkaError

from ...schemas.own_records.control_records import ControlOrder
from ...schemas.own_records.job_events import EventSubject, JobEvent, WorkerDecided
from ...topology.wire.orders import Verb
from .. import log_keys
from ..breakers.breaker_state import BreakerState, Change, Closing, Write
from ..breakers.breakers import Breakers, lifting_command
from ..breakers.opening import Opening, Target, about, opening_of, order_of, target_of
from ..settling.writes import utc
from .order_takers import OrderTaker
from .own_orders import OwnOrder, OwnOrders

_LOGGER = logging.getLogger("stoker.control")

BREAKER: Final = "breaker"
"""The reason of events about breakers."""


class BreakerOrders(OrderTaker):
    """The breakers of this process, as the fleet has them; orders about other breakers do nothing here."""

    def __init__(
        self,
        breakers: Breakers,
        own_orders: OwnOrders,
        publish: Callable[[JobEvent], None],
        worker_id: str,
        *,
        events_topic: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._breakers, self._own_orders, self._publish = breakers, own_orders, publish
        self._worker_id, self._events_topic = worker_id, events_topic
        self._clock = clock
        self._targets: dict[bytes, Target] = {}
        self._not_seen: set[bytes] = set()

    @property
    def verbs(self) -> Collection[str]:
        """The verb of open breakers."""
        return (Verb.OPEN,)

    def take(self, key: bytes, order: ControlOrder, *, is_new: bool) -> None:
        """Take an order, also one that is over: then a job may probe."""
        self._not_seen.discard(key)
        target = target_of(order)
        state = None if target is None else self._breakers.states.get(target)
        if target is None or state is None:
            return
        self._targets[key] = target
        before, opening = state.phase, opening_of(order, self._clock())
        state.adopt(opening, is_new=is_new)
        if before == "closed" and state.opening is not None:
            _LOGGER.warning(
                "the breaker of %s is open, by %s: %s; its jobs wait", target, opening.operator, opening.reason or "-",
                extra={log_keys.ORDER: opening.order_id},
            )  # fmt: skip

    def lift(self, key: bytes) -> None:
        """Close the breaker."""
        target = self._targets.pop(key, None)
        state = None if target is None else self._breakers.states.get(target)
        if state is not None and state.opening is not None:
            state.lift()
            if state.opening is None:  # else this process has opened it anew, and its order comes behind this one
                _LOGGER.warning("the breaker of %s is closed: its jobs go on", target)

    def carry_out(self) -> None:
        """Lease probes, write what is to be written, and report what this worker has decided."""
        if self._breakers:
            self._breakers.turn()
            self._write_decided()
        self._own_orders.turn()

    def _write_decided(self) -> None:
        for state in self._breakers.states.values():
            write = state.take_write()
            if write is not None:
                self._own_orders.write(self._own_order(state, write))
        while self._breakers.decided:
            self._report(self._breakers.decided.popleft())

    def close(self, within_s: float) -> None:
        """Write what is decided by now."""
        self.carry_out()

    def begin_rereading(self) -> None:
        """Note what stands."""
        self._not_seen = set(self._targets)

    def end_rereading(self) -> None:
        """Close the breakers that were closed without this process having seen it."""
        not_seen, self._not_seen = self._not_seen, set()
        for key in not_seen:
            self.lift(key)

    def _own_order(self, state: BreakerState, write: Write) -> OwnOrder:
        is_lease = isinstance(write, Opening) and write.is_lease
        return OwnOrder(
            order=self._order(state.target, write),
            is_audited=not is_lease,
            on_answer=partial(_note_answer, state, write),
        )

    def _order(self, target: Target, write: Write) -> ControlOrder:
        now_s = self._clock()
        if isinstance(write, Closing):
            order = ControlOrder(
                order_id=write.order_id,
                verb=Verb.CLOSE,
                operator=f"worker {self._worker_id}",
                host=socket.gethostname(),
                at=utc(now_s),
                reason=write.reason,
            )
            return about(target, order)
        return order_of(write, target, now_s)

    def _report(self, change: Change) -> None:
        target, opening = change.target, change.opening
        if opening is None:
            _LOGGER.warning("the breaker of %s closes: %s; its jobs go on", target, change.reason)
        else:
            until = "" if opening.until_at_s is None else f"; a job probes after {utc(opening.until_at_s):%H:%M:%SZ}"
            _LOGGER.warning(
                "the breaker of %s opens: %s; its jobs wait, at no attempt's cost%s, or `%s` ends that",
                target, change.reason, until, lifting_command(target),
                extra={log_keys.ORDER: opening.order_id},
            )  # fmt: skip
        self._publish(self._event(change))

    def _event(self, change: Change) -> WorkerDecided:
        job_type = change.target.name if change.target.kind == "type" else ""
        subject = EventSubject(job_id="", job_type=job_type, queue="", topic=self._events_topic)
        return WorkerDecided(
            subject=subject,
            at=utc(self._clock()),
            worker=self._worker_id,
            reason=BREAKER,
            phase="closed" if change.opening is None else "opened",
            more={"breaker": f"{change.target.kind}/{change.target.name}", "why": change.reason},
        )


def _note_answer(state: BreakerState, write: Write, error: KafkaError | None) -> None:
    if error is not None:
        state.note_unwritten(write)
