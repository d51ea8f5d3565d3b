"""`Orders`: gives each record of the control topic to the taker of its verb, and lists those that none understands."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Final, cast

from confluent_kafka import Message

from ...schemas import Undecodable, UnknownSchema, wire_text
from ...schemas.own_records.control_records import MOST_IDS, ControlOrder, decode_order, unread_order
from ...topology.wire.headers import ORDER, HeaderList, header_map
from ...topology.wire.orders import OVER, verb_of
from .. import log_keys
from .order_takers import OrderTaker

_LOGGER = logging.getLogger("stoker.control")

MOST_LOGGED: Final = 20
"""Orders not understood at a time of which each is logged: a newer Stoker may have given a great many."""


class Orders:
    """All orders that stand. The control thread alone calls it.

    An order that this process does not understand, such as one of a newer version of Stoker, stops nothing: it is
    logged and counted until it is lifted.

    Attributes:
        not_understood: {key: id of the order that stands under it and is not understood}, the latest last.
    """

    def __init__(self, takers: Iterable[OrderTaker]) -> None:
        self._takers = tuple(takers)
        self._by_verb: Mapping[str, OrderTaker] = {verb: taker for taker in self._takers for verb in taker.verbs}
        self.not_understood: dict[bytes, str] = {}
        self._is_rereading = False
        self._not_seen: set[bytes] = set()

    def take(self, message: Message) -> None:
        """Take a record: an order, or one that lifts what stood under its key."""
        key, value = _bytes_of(message.key()), message.value()
        self.not_understood.pop(key, None)
        self._not_seen.discard(key)
        try:
            if value is None:
                self._lift(key, _removed_order(message))
            else:
                self._take(key, decode_order(value))
        except UnknownSchema:
            self._note_strange(key, message, "a newer version of Stoker has written it")
        except Undecodable as error:
            self._note_strange(key, message, str(error))
        except Exception as error:  # one order that cannot be carried out must not end every worker that reads it
            _LOGGER.exception("the worker could not carry out the order %s", wire_text(key))
            self._note_strange(key, message, f"it failed here: {error}")

    @property
    def latest_not_understood(self) -> tuple[str, ...]:
        """The ids of the latest orders that are not understood, or what stands for them."""
        return tuple(list(self.not_understood.values())[-MOST_IDS:])

    def carry_out(self) -> None:
        """Do what is left to do of the orders taken so far, and let go of those that are over."""
        for taker in self._takers:
            taker.let_go_of_old()
            taker.carry_out()

    def close(self, within_s: float) -> None:
        """Do what is left to do at the end, for so long at the most."""
        for taker in self._takers:
            taker.close(within_s)

    def begin_rereading(self) -> None:
        """All orders that stand come again from here on."""
        self._is_rereading = True
        self._not_seen = set(self.not_understood)
        for taker in self._takers:
            taker.begin_rereading()

    def end_rereading(self) -> None:
        """Let go of those that did not."""
        self._is_rereading = False
        for key in self._not_seen:
            self.not_understood.pop(key, None)
        for taker in self._takers:
            taker.end_rereading()

    def _take(self, key: bytes, order: ControlOrder) -> None:
        taker = self._by_verb.get(order.verb)
        if taker is None:
            why = f"to {order.verb}, by {order.operator}; a newer version of Stoker understands it"
            self._count_strange(key, order.order_id, why)
            return
        taker.take(key, order, is_new=not self._is_rereading)

    def _lift(self, key: bytes, removed: str | None) -> None:
        taker = self._by_verb.get(verb_of(key))
        if taker is None:
            return
        if removed is None:
            taker.lift(key)
        else:
            taker.remove(key, removed)

    def _note_strange(self, key: bytes, message: Message, why: str) -> None:
        self._count_strange(key, _order_id_of(message), f"at offset {message.offset()} of {message.topic()}: {why}")

    def _count_strange(self, key: bytes, order_id: str, why: str) -> None:
        self.not_understood[key] = order_id
        count = len(self.not_understood)
        if count <= MOST_LOGGED:
            _LOGGER.warning(
                "the worker does not understand the order %s %s", wire_text(key), why, extra={log_keys.ORDER: order_id}
            )
        elif count == MOST_LOGGED + 1:
            _LOGGER.warning(
                "the worker does not understand %d orders; further ones are counted in its status, and not logged",
                count, extra={log_keys.COUNT: count},
            )  # fmt: skip


def _bytes_of(key: bytes | str | None) -> bytes:
    return key.encode() if isinstance(key, str) else key or b""


def _removed_order(message: Message) -> str | None:
    """The id of the order that a record removes; None where it lifts whichever stands."""
    value = header_map(cast("HeaderList | None", message.headers())).get(ORDER)
    try:
        return None if value is None else decode_order(value).detail.get(OVER)
    except (Undecodable, UnknownSchema):
        return None


def _order_id_of(message: Message) -> str:
    """The id of an order; if it cannot be read, what stands for it in answers."""
    try:
        return decode_order(message.value()).order_id
    except (Undecodable, UnknownSchema):
        return unread_order(message.offset() or 0)
