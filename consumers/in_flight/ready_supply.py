"""`ReadySupply`: whether the runners have work at hand for a while, so that reading on can wait.

While memory for parked records is nearly full, most of what is fetched is put aside and read twice. Where the jobs that
are ready last for a while, it need not be fetched yet, and the parked ones go on meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

LEAST_READY: Final = 500
"""As many as one fetch brings."""
LASTS_S: Final = 0.1
"""The poll thread looks again after 20 ms at the latest."""
MEASURED_S: Final = 0.05


class ReadySupply:
    """The ready jobs of one queue beside the pace at which they end; owned by the poll thread.

    Args:
        is_crowded: whether memory for parked records is nearly full.
        count_ready: how many records are ready, for the kind of runners that has the fewest.
        least: fewer are never enough.
    """

    def __init__(
        self,
        is_crowded: Callable[[], bool],
        count_ready: Callable[[], int],
        *,
        least: int = LEAST_READY,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._is_crowded, self._count_ready = is_crowded, count_ready
        self._clock = clock
        self._since_at_s, self._ended = clock(), 0
        self._least = self._enough = least

    def note_ended(self, count: int) -> None:
        """Count jobs that have ended, whatever their outcome."""
        self._ended += count

    def spares_fetching(self) -> bool:
        """Whether what is ready lasts for a while, and what would be fetched is to be put aside for the most part."""
        if not self._is_crowded():
            return False
        now_s = self._clock()
        if (measured_s := now_s - self._since_at_s) >= MEASURED_S:
            self._enough = max(self._least, int(self._ended / measured_s * LASTS_S))
            self._since_at_s, self._ended = now_s, 0
        return self._count_ready() >= self._enough
