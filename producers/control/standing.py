"""Reads the topics of control: the orders that stand, who gave which, and the workers."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Final, cast

from confluent_kafka import Message

from ...schemas import Undecodable, UnknownSchema
from ...schemas.own_records.control_records import ControlOrder, decode_order
from ...topology import ClusterSettings, Pipeline
from ...topology.wire.headers import ORDER_OFFSET, HeaderList, header_map
from ...topology.wire.orders import LIFTS, ONCE, Verb, cancelled_by
from .answers import StatusBook
from .log_reader import QUICK_END_MS, READ_WITHIN_S, LogReader, asking, read_log

STANDING: Final = frozenset(Verb) - ONCE - frozenset(LIFTS)
"""The verbs of orders that stand until they are lifted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenOrder:
    """An order as the audit topic has it, and its offset on the control topic.

    Attributes:
        count: so many jobs are named one by one; `order` has the last of them.
    """

    order: ControlOrder
    offset: int
    count: int = 1


class OrderBook:
    """The orders that stand, read on from where the last look was. Not thread-safe.

    Cancels of single jobs are counted and not kept, unless they are asked for: there may be a great many.

    Args:
        verbs: of the orders to keep.
    """

    def __init__(
        self, pipeline: Pipeline, cluster: ClusterSettings, verbs: Collection[str], *, with_jobs: bool = False
    ) -> None:
        self._topic, self._cluster, self._verbs = pipeline.control_topic, cluster, verbs
        self._with_jobs = with_jobs
        self._jobs: set[bytes | str | None] = set()
        self._reader: LogReader | None = None
        self._found: dict[bytes | str | None, ControlOrder] = {}

    def read(self, timeout_s: float = READ_WITHIN_S) -> list[ControlOrder]:
        """Read the orders that stand now, the oldest first, without those that cannot be read. Raises as `read_log`."""
        with asking(self._cluster, self._topic):
            reader = self._started(timeout_s)
            for message in reader.read_to_end(timeout_s):
                self._note(message)
        return list(self._found.values())

    def close(self) -> None:
        """Disconnect."""
        if self._reader is not None:
            self._reader.close()

    def _started(self, timeout_s: float) -> LogReader:
        if self._reader is None:
            options = {"fetch.wait.max.ms": QUICK_END_MS}
            self._reader = LogReader(self._cluster, self._topic, client_id="stoker-control", options=options)
            self._reader.start(self._reader.ask_end(timeout_s)[0])
        return self._reader

    @property
    def cancelled_jobs(self) -> int:
        """How many jobs are cancelled one by one, as of the last look."""
        return len(self._jobs)

    def _note(self, message: Message) -> None:
        self._found.pop(message.key(), None)
        if cancelled_by(_bytes_of(message.key()))[0] is not None:
            (self._jobs.discard if message.value() is None else self._jobs.add)(message.key())
            if not self._with_jobs:
                return
        order = _order_of(message)
        if order is not None and order.verb in self._verbs:
            self._found[message.key()] = order


def read_standing_orders(
    pipeline: Pipeline, cluster: ClusterSettings, verbs: Collection[str] = STANDING, *, with_jobs: bool = True
) -> list[ControlOrder]:
    """The orders of these verbs that stand, cancels of single jobs included or not. Raises as `read_log`."""
    standing = OrderBook(pipeline, cluster, verbs, with_jobs=with_jobs)
    try:
        return standing.read()
    finally:
        standing.close()


def read_given_orders(
    pipeline: Pipeline, cluster: ClusterSettings, since_at_s: float | None = None
) -> Iterator[GivenOrder]:
    """Read the orders and changes of schedules that the audit topic keeps, the oldest first. Raises as `read_log`."""
    for message in read_log(cluster, pipeline.audit_topic, since_at_s=since_at_s):
        order = _order_of(message)
        if order is not None:
            offset = header_map(cast("HeaderList | None", message.headers())).get(ORDER_OFFSET, b"")
            yield GivenOrder(order=order, offset=int(offset) if offset.isdigit() else -1)


def read_workers(pipeline: Pipeline, cluster: ClusterSettings, since_at_s: float | None = None) -> StatusBook:
    """The last status of each worker whose status came since then. Raises as `read_log`."""
    book = StatusBook()
    book.note(read_log(cluster, pipeline.workers_topic, since_at_s=since_at_s))
    return book


def as_given(given: Iterable[GivenOrder]) -> Iterator[GivenOrder]:
    """Orders as people have given them: one that names many jobs is one order."""
    for _, some in groupby(given, key=lambda one: one.order.order_id):
        *before, last = some
        yield replace(last, count=len(before) + 1)


def _bytes_of(key: bytes | str | None) -> bytes:
    return key.encode() if isinstance(key, str) else key or b""


def _order_of(message: Message) -> ControlOrder | None:
    value = message.value()
    try:
        return None if value is None else decode_order(value)
    except (Undecodable, UnknownSchema):
        return None
