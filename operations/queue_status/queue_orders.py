"""Which orders that stand hold back or end the jobs of a queue: pauses, blocks and cancels by filter."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Final

from ...producers.control.cancelling import STANDS_FOR
from ...producers.control.errors import ControlNotReady
from ...producers.control.standing import OrderBook
from ...schemas.own_records.control_records import ControlOrder
from ...topology import ClusterSettings, NotAuthorized, Pipeline
from ...topology.wire.orders import Verb, in_words

WORDS: Final[Mapping[str, str]] = {Verb.PAUSE: "paused", Verb.BLOCK: "blocked"}


class QueueOrders:
    """Reads the control topic on from look to look.

    Args:
        with_jobs: whether cancels of single jobs are asked for: there may be a great many.

    Attributes:
        fault: why the orders are not known; empty where they are.
    """

    def __init__(self, pipeline: Pipeline, cluster: ClusterSettings, *, with_jobs: bool = False) -> None:
        self._pipeline = pipeline
        self._standing = OrderBook(pipeline, cluster, (Verb.PAUSE, Verb.BLOCK, Verb.CANCEL), with_jobs=with_jobs)
        self._orders: list[ControlOrder] = []
        self.fault = ""

    def look(self) -> None:
        """Read what has come since the last look.

        Raises:
            ClusterUnreachable: the brokers do not answer.
        """
        try:
            self._orders = self._standing.read()
            self.fault = ""
        except (ControlNotReady, NotAuthorized) as error:
            self.fault = f"whether jobs are paused is not known: {error}"

    def of(self, queue: str) -> tuple[ControlOrder, ...]:
        """The orders that hold back or end jobs of this queue, the oldest first."""
        now = datetime.now(UTC)
        return tuple(order for order in self._orders if self._concerns(order, queue) and not order.is_over(now))

    def _concerns(self, order: ControlOrder, queue: str) -> bool:
        if order.queue is not None:
            return order.queue == queue
        if order.job_type is None:
            return True
        job_type = self._pipeline.job_types.get(order.job_type)
        return job_type is None or job_type.queue.name == queue


def order_lines(orders: Iterable[ControlOrder]) -> list[str]:
    """Orders for people, each in a line."""
    return [_line(order) for order in orders]


def _line(order: ControlOrder) -> str:
    word = "discarded" if order.discard else WORDS.get(order.verb, "cancelled")
    is_usual = order.until is None or (order.verb == Verb.CANCEL and order.until - order.at >= STANDS_FOR)
    until = "" if is_usual or order.until is None else f" until {order.until.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"
    why = f": {order.reason}" if order.reason else ""
    since = f"{order.at.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"
    return f"{word}: {in_words(order)}{until}, since {since} by {order.operator}@{order.host}{why}"
