"""What stands on the topics of control: the orders, who gave which, and the workers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

from confluent_kafka import Message

from ...schemas import Undecodable, UnknownSchema
from ...schemas.control_records import ControlOrder, decode_order
from ...topology import ClusterSettings, Pipeline
from ...topology.wire.headers import ORDER_OFFSET, HeaderList, header_map
from ...topology.wire.orders import ONCE
from .answers import StatusBook
from .log_reader import read_log


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenOrder:
    """An order as the audit topic has it, and its offset on the control topic."""

    order: ControlOrder
    offset: int


def read_standing_orders(pipeline: Pipeline, cluster: ClusterSettings) -> list[ControlOrder]:
    """The orders that stand, the oldest first; those that cannot be read are left out. Raises as `read_log`."""
    found: dict[bytes | str | None, ControlOrder] = {}
    for message in read_log(cluster, pipeline.control_topic):
        found.pop(message.key(), None)
        order = _order_of(message)
        if order is not None and order.verb not in ONCE:
            found[message.key()] = order
    return list(found.values())


def read_given_orders(
    pipeline: Pipeline, cluster: ClusterSettings, since_s: float | None = None
) -> Iterator[GivenOrder]:
    """All orders ever given, the oldest first, as long as they are kept. Raises as `read_log`."""
    for message in read_log(cluster, pipeline.audit_topic, since_s=since_s):
        order = _order_of(message)
        if order is not None:
            offset = header_map(cast("HeaderList | None", message.headers())).get(ORDER_OFFSET, b"")
            yield GivenOrder(order=order, offset=int(offset) if offset.isdigit() else -1)


def read_workers(pipeline: Pipeline, cluster: ClusterSettings, since_s: float | None = None) -> StatusBook:
    """The last status of each worker that was heard since then. Raises as `read_log`."""
    book = StatusBook()
    book.note(read_log(cluster, pipeline.workers_topic, since_s=since_s))
    return book


def _order_of(message: Message) -> ControlOrder | None:
    value = message.value()
    try:
        return None if value is None else decode_order(value)
    except (Undecodable, UnknownSchema):
        return None
