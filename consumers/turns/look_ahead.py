"""`LookAhead`: looks now and then how far the queue reaches, where tenants share the runners."""

from __future__ import annotations

from typing import Final

from ..inspection.lag import QueueLag
from ..intake.heavy_tenants import HeavyTenants

INTERVAL_S: Final = 0.1


class LookAhead:
    """Owned by the poll thread; a queue whose tenants share nothing has none."""

    def __init__(self, heavy_tenants: HeavyTenants, lag: QueueLag) -> None:
        self._heavy_tenants, self._lag = heavy_tenants, lag
        self._next_at_s = 0.0

    def turn(self, now_s: float) -> None:
        """Look, if it is time."""
        if now_s >= self._next_at_s:
            self._next_at_s = now_s + INTERVAL_S
            self._heavy_tenants.look_ahead(self._lag.main_ends(), self._lag.measure(is_resting=False))
