"""`CancelledJobs`: ends the jobs of one queue for which a cancel stands, as far as they run or wait at a gate."""

from __future__ import annotations

from ..gates.wait_set import WaitSet
from ..runners.watchdog import Watchdog
from ..standing_orders.cancels import Cancels


class CancelledJobs:
    """Called from any thread."""

    def __init__(self, queue: str, cancels: Cancels, wait_set: WaitSet, watchdog: Watchdog) -> None:
        self._queue, self._cancels, self._wait_set, self._watchdog = queue, cancels, wait_set, watchdog

    def end(self, *, aside_too: bool = False) -> int:
        """Let the jobs at gates go on for which a cancel stands, and end those that run.

        Args:
            aside_too: whether jobs that wait aside are to be looked at as well, which reads them again.

        Returns:
            How many run.
        """
        self._wait_set.release_cancelled(aside_too=aside_too)
        return self._watchdog.cancel(lambda run: self._cancels.of(run.record, self._queue))
