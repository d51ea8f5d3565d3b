"""Records of the control topic, without a broker."""

from __future__ import annotations

from confluent_kafka import Message

from stoker.schemas.own_records.control_records import ControlOrder, encode_order
from stoker.topology.wire.orders import order_key


def given(order: ControlOrder) -> Message:
    """The record of an order."""
    return Message(
        topic="unit.control", partition=0, offset=0, key=order_key(order).encode(), value=encode_order(order)
    )


def lifted(order: ControlOrder) -> Message:
    """The record that lifts it."""
    return Message(topic="unit.control", partition=0, offset=0, key=order_key(order).encode(), value=None)
