"""`StopBound`: how long a stop may take, before what has not ended is given up as hanging.

A stop ends by itself within known times. What exceeds them hangs, and only the end of its process helps: nothing is
lost by that, since what is not committed is delivered again.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

MOST_SEEN_S: Final = 1.0
"""The most that one look counts: a process that was frozen, or got no CPU, is not at fault for that time."""
POLL_THREAD_AFTER_GRACE_S: Final = 30.0
"""How long a poll thread may take beyond the grace. It settles and leaves within 24 s, where no broker answers."""
POLL_THREAD_AT_ONCE_S: Final = 15.0
"""How long it may take where the stop does not wait for running jobs: it joins threads for up to 10 s then."""
PROCESS_AFTER_GRACE_S: Final = 40.0
"""How long a process of a fleet may take beyond the grace: 35 s, for which an orchestrator waits as well, and 5 more,
in which one that hangs says so by itself."""
PROCESS_AT_ONCE_S: Final = 25.0
"""How long it may take where the stop does not wait for running jobs."""


class StopBound:
    """Counts down while it is looked at, by one thread.

    Args:
        grace: how long running jobs may take to end.
        after_grace_s: how long the end may take beyond that.
        at_once_s: how long it may take in all, once running jobs are not waited for.
    """

    def __init__(self, grace: timedelta, after_grace_s: float, at_once_s: float) -> None:
        self._whole_s = grace.total_seconds() + after_grace_s
        self._at_once_s = at_once_s
        self._left_s = self._whole_s
        self._looked_at_s: float | None = None

    def begin_anew(self) -> None:
        """Count from the next look on."""
        self._left_s, self._looked_at_s = self._whole_s, None

    def is_over(self, now_s: float, *, is_at_once: bool) -> bool:
        """Look whether the stop has taken too long, from the first look on."""
        if self._looked_at_s is not None:
            self._left_s -= min(MOST_SEEN_S, now_s - self._looked_at_s)
        self._looked_at_s = now_s
        if is_at_once:
            self._left_s = min(self._left_s, self._at_once_s)
        return self._left_s <= 0
