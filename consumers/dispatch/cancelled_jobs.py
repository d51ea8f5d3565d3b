"""`CancelledJobs`: ends the jobs of one queue for which a cancel stands, as far as they run or wait at a gate."""

from __future__ import annotations

from ..gates.wait_set import WaitSet
from ..runners.watchdog import Watchdog
from ..standing_orders.cancels import Cancels


class CancelledJobs:
    """Called from any thread."""

    def __init__(self, queue: str, cancels: Cancels, wait_set: WaitSet, watchdog: Watchdog) -> None:
        self._queue, self._cancels, self._wait_set, self._watchdog = queue, cancels, wait_set, watchdog

    def end(self) -> int:
        """End jobs for which a cancel stands: those at gates in memory go on, those that run are ended and counted."""
        self._wait_set.release_cancelled()
        return self._watchdog.cancel(lambda run: self._cancels.of(run.record, self._queue))

    def look_aside(self) -> None:
        """Have the jobs looked at that wait aside at gates, which reads them again; call it after `end`."""
        self._wait_set.release_all_aside()
