"""Orders to workers: those to be quiet stand; those to stop and inspect are for the workers that run at that time."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Collection
from dataclasses import asdict
from datetime import datetime
from typing import Final

from confluent_kafka import KafkaError

from ...schemas.own_records.control_records import ControlOrder
from ...topology.cluster.kafka_errors import Remedy, remedy_of
from ...topology.wire.orders import ONCE, Verb
from .. import log_keys
from ..gates.pauses import Ordered, Pause
from .order_takers import OrderTaker, StandingOrders, utc_now
from .worker_process import WorkerProcess

_LOGGER = logging.getLogger("stoker.control")

LONGEST_INSPECTION: Final = 500_000
"""In characters: the status with the answer must fit a record of the workers topic."""


def is_for(order: ControlOrder, process: WorkerProcess) -> bool:
    """Whether an order is to this worker: by its id, by its host, or to all."""
    return order.worker in (None, process.worker_id) and order.worker_host in (None, process.host)


class QuietOrders(StandingOrders):
    """Orders to start no job. The partitions stay with the worker, and their jobs wait."""

    def __init__(self, process: WorkerProcess, clock: Callable[[], datetime] = utc_now) -> None:
        super().__init__(clock)
        self._process = process

    @property
    def verbs(self) -> Collection[str]:
        """The verb of quiet orders."""
        return (Verb.QUIET,)

    @property
    def is_quiet(self) -> bool:
        """Whether this worker is to start no job."""
        return any(is_for(order, self._process) for order in self.standing)

    def begin(self, order: ControlOrder) -> None:
        """Pause all queues of this process, if it is meant."""
        if is_for(order, self._process):
            for queue, pauses in self._process.pauses.items():
                pauses.begin(_quiet(order, queue))

    def end(self, order: ControlOrder) -> None:
        """Resume them."""
        if is_for(order, self._process):
            for queue, pauses in self._process.pauses.items():
                pauses.end(_quiet(order, queue))


def _quiet(order: ControlOrder, queue: str) -> Pause:
    target = next((f"--{name} {value}" for name, value in _targets(order) if value is not None), "--all")
    ordered = Ordered(
        order_id=order.order_id,
        state="quiet",
        operator=order.operator,
        reason=order.reason,
        until_at_s=None if order.until is None else order.until.timestamp(),
        lift=f"stoker control worker work {target}",
    )
    return Pause(queue, ordered=ordered)


def _targets(order: ControlOrder) -> tuple[tuple[str, str | None], ...]:
    return ("worker", order.worker), ("host", order.worker_host)


class OnceOrders(OrderTaker):
    """Orders to stop and to inspect."""

    def __init__(self, process: WorkerProcess, clock: Callable[[], datetime] = utc_now) -> None:
        self._process = process
        self._clock = clock
        self._inspection = ""

    @property
    def verbs(self) -> Collection[str]:
        """The verbs of orders that are done once."""
        return ONCE

    def take(self, key: bytes, order: ControlOrder, *, is_new: bool) -> None:
        """Do it, unless it was given to the workers that ran before this one, or too long ago."""
        if not is_new or order.is_over(self._clock()) or not is_for(order, self._process):
            return
        if order.verb == Verb.INSPECT:
            self._inspection = inspection_text(self._process)
            return
        _LOGGER.info(
            "%s orders the worker to stop: %s", order.operator, order.reason or "no reason is given",
            extra={log_keys.ORDER: order.order_id},
        )  # fmt: skip
        self._process.stop()

    @property
    def inspection(self) -> str:
        """JSON of the queues, where an order has asked for it and the brokers have not confirmed it yet; else empty."""
        return self._inspection

    def note_answered(self, inspection: str, error: KafkaError | None) -> None:
        """Note that a status with this inspection is confirmed, or failed: then the next one has it again.

        One that the topic does not take for its size would keep all later statuses from it, so it is given up.
        """
        if (error is None or remedy_of(error) is Remedy.SHRINK) and self._inspection == inspection:
            self._inspection = ""


def inspection_text(process: WorkerProcess) -> str:
    """The inspections of all queues as JSON; without their parts where it would be too long."""
    found = [asdict(inspection) | {"hints": inspection.hints} for inspection in process.inspect()]
    text = json.dumps(found, default=str)
    if len(text) <= LONGEST_INSPECTION:
        return text
    return json.dumps([queue | {"runs": [], "loops": [], "partitions": []} for queue in found], default=str)
