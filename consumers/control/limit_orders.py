"""`LimitOrders`: orders to change limits, or to lift them, of which each changes the limits of the queues concerned."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from datetime import datetime

from ...schemas.own_records.control_records import ControlOrder
from ...topology.declaration.limits import changed
from ...topology.wire.orders import LIMIT, LimitChange, Verb, order_key
from .. import log_keys
from ..limits.limits import Limits
from .order_takers import StandingOrders, utc_now

_LOGGER = logging.getLogger("stoker.control")


class LimitOrders(StandingOrders):
    """Orders about limits, for all queues of this process; those about limits of other queues do nothing here."""

    def __init__(self, gates: Sequence[Limits], clock: Callable[[], datetime] = utc_now) -> None:
        """Begin without any.

        Args:
            gates: the limits of each queue of this process.
        """
        super().__init__(clock)
        self._gates = gates

    @property
    def verbs(self) -> Collection[str]:
        """The verb of changed limits."""
        return (Verb.LIMIT,)

    def begin(self, order: ControlOrder) -> None:
        """Keep the limit as ordered."""
        name, change = order.detail[LIMIT], LimitChange.of_order(order)
        for gate in self._keeping(name):
            limit = changed(gate.declared[name], change)
            gate.change(name, limit, is_lifted=change.is_lifted)
            _LOGGER.warning(
                "limit %s is %s, by order of %s: %s",
                name, "lifted" if change.is_lifted else limit, order.operator, order.reason or "-",
                extra={log_keys.ORDER: order.order_id},
            )  # fmt: skip

    def end(self, order: ControlOrder) -> None:
        """Keep the limit as declared, unless another order about it stands."""
        name = order.detail[LIMIT]
        if self.under(order_key(order).encode()) is not None:
            return
        for gate in self._keeping(name):
            gate.change(name, gate.declared[name], is_lifted=False)
            _LOGGER.warning("limit %s is as declared again: %s", name, gate.declared[name])

    def _keeping(self, name: str) -> list[Limits]:
        return [gate for gate in self._gates if name in gate.declared]
