"""`OrderReader`: the orders that stand at the end, by the control topic and by the trail of all orders ever given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from stoker.producers.control.standing import STANDING, read_given_orders, read_standing_orders
from stoker.topology import ClusterSettings, Pipeline
from stoker.topology.wire.orders import LIFTS, Verb, order_key

LIFTED: Final = STANDING - {Verb.CANCEL, Verb.RESCHEDULE}
"""Workers forget the others once their jobs have ended, or begun."""
CHANGES_SCHEDULE: Final = "schedule"
"""The detail of a trace that is of a change of a schedule, and of no order."""


@dataclass(frozen=True, slots=True)
class OrderReader:
    """Reads both topics, for orders that a person lifts."""

    servers: str

    def standing(self) -> list[str]:
        """The ids of the orders that stand."""
        found = read_standing_orders(self._pipeline, self._cluster, LIFTED)
        return sorted(order.order_id for order in found)

    def audited(self) -> list[str]:
        """The same by the audit topic."""
        last: dict[str, str] = {}
        for given in sorted(read_given_orders(self._pipeline, self._cluster), key=lambda given: given.offset):
            verb, key = given.order.verb, order_key(given.order)
            if CHANGES_SCHEDULE in given.order.detail:
                continue
            if verb in LIFTS:
                last.pop(key, None)
            elif verb in LIFTED:
                last[key] = given.order.order_id
        return sorted(last.values())

    @property
    def _cluster(self) -> ClusterSettings:
        return ClusterSettings(bootstrap_servers=self.servers)

    @property
    def _pipeline(self) -> Pipeline:
        from chaos.fleet.app import pipeline  # once its folder is known

        return pipeline
