"""`LookAhead`: looks now and then how far the queue reaches, where tenants share the runners."""

from __future__ import annotations

from typing import Final

from ..inspection.unfinished import UnfinishedCount
from ..intake.heavy_tenants import HeavyTenants

INTERVAL_S: Final = 0.1


class LookAhead:
    """Owned by the poll thread; a queue whose tenants share nothing has none."""

    def __init__(self, heavy_tenants: HeavyTenants, unfinished: UnfinishedCount) -> None:
        self._heavy_tenants, self._unfinished = heavy_tenants, unfinished
        self._next_at_s = 0.0

    def turn(self, now_s: float) -> None:
        """Look, if it is time."""
        if now_s >= self._next_at_s:
            self._next_at_s = now_s + INTERVAL_S
            self._heavy_tenants.look_ahead(self._unfinished.main_ends(), self._unfinished.measure(is_resting=False))
