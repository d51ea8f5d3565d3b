"""`ReadySupply`: how long the ready jobs last, so that reading on can wait.

While memory for parked records is nearly full, most of what is fetched is put aside and read twice. Where the jobs that
are ready last for a while, it need not be fetched yet, and the parked ones go on meanwhile. It is fetched all the same
now and then: the group keeps its member by it, and a wrong guess makes no queue stand still.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Final

from ...topology import Queue
from ...topology.declaration.job_type import AnyJobType

LEAST_READY: Final = 500
"""As many as one fetch brings."""
LASTS_S: Final = 0.1
"""The poll thread looks again after 20 ms at the latest."""
MEASURED_S: Final = 0.05
FETCH_EVERY_S: Final = 0.5
"""A fetch is made at least so often, so that no slower pace than 1,000 jobs a second gains anything."""


class ReadySupply:
    """The ready jobs of one queue beside the pace at which jobs are done; owned by the poll thread.

    Args:
        is_crowded: whether memory for parked records is nearly full.
        count_ready: how many records are ready.
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
        self._since_at_s, self._done = clock(), 0
        self._least = self._enough = least
        self._fetch_at_s = 0.0

    def note_done(self, count: int) -> None:
        """Count jobs that are done."""
        self._done += count

    def spares_fetching(self) -> bool:
        """Whether what is ready lasts for a while, and what would be fetched is to be put aside for the most part."""
        if not self._is_crowded():
            return False
        now_s = self._clock()
        self._measure(now_s)
        if now_s < self._fetch_at_s and self._count_ready() >= self._enough:
            return True
        self._fetch_at_s = now_s + FETCH_EVERY_S
        return False

    def _measure(self, now_s: float) -> None:
        """Take the pace of a while for the present one."""
        if (measured_s := now_s - self._since_at_s) >= MEASURED_S:
            self._enough = max(self._least, int(self._done / measured_s * LASTS_S))
            self._since_at_s, self._done = now_s, 0


def may_overtake(queue: Queue, job_types: Iterable[AnyJobType]) -> bool:
    """Whether jobs of a queue may have their turn before earlier ones that are ready.

    Those of another kind of runner may, those of another priority, and of another tenant where tenants share runners.
    """
    kinds = {(job_type.isolation, job_type.is_async) for job_type in job_types}
    return len(kinds) > 1 or bool(queue.priority_topics) or queue.fair_by is not None
