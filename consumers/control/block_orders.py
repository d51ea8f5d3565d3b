"""`BlockOrders`: orders to block jobs: they wait at the gates, or end as cancelled where the order discards them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import datetime

from ...schemas.own_records.control_records import ControlOrder
from ...topology.wire.orders import Verb
from ..gates.pauses import Pauses
from ..standing_orders.cancels import Cancels
from .cancel_orders import begin_filter
from .order_takers import utc_now
from .pause_orders import PauseOrders
from .worker_process import EndCancelled


class BlockOrders(PauseOrders):
    """Blocks, for all queues of this process."""

    def __init__(
        self,
        pauses: Mapping[str, Pauses],
        cancels: Cancels,
        end_cancelled_aside: EndCancelled,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        """Begin without any.

        Args:
            end_cancelled_aside: as `WorkerProcess` has it.
        """
        super().__init__(pauses, clock)
        self._cancels = cancels
        self._end_cancelled_aside = end_cancelled_aside
        self._has_new = False

    @property
    def verbs(self) -> Collection[str]:
        """The verb of blocks."""
        return (Verb.BLOCK,)

    def begin(self, order: ControlOrder) -> None:
        """Hold back all jobs that the order names, or cancel them, also those that come."""
        if order.discard:
            begin_filter(self._cancels, order)
            self._has_new = True
        else:
            super().begin(order)

    def end(self, order: ControlOrder) -> None:
        """Open them, or cancel no more."""
        if order.discard:
            self._cancels.end_filter(order.order_id)
        else:
            super().end(order)

    def carry_out(self) -> None:
        """End what runs and is discarded by now."""
        if self._has_new:
            self._has_new = False
            self._end_cancelled_aside()
