"""`LogPace`: how often at most a trouble that lasts is logged."""

from __future__ import annotations

import math
from typing import Final

LOG_INTERVAL_S: Final = 60.0


class LogPace:
    """Lets a trouble be logged at once, and then once an interval while it lasts.

    Safe to use from all threads; where two ask at the same moment, both may log.

    Args:
        first_at_s: before that instant nothing is logged, since most troubles are short.

    >>> pace = LogPace(60.0)
    >>> pace.try_acquire(0.0), pace.try_acquire(59.0), pace.try_acquire(60.0)
    (True, False, True)
    """

    __slots__ = ("_interval_s", "_next_at_s")

    def __init__(self, interval_s: float = LOG_INTERVAL_S, *, first_at_s: float = -math.inf) -> None:
        self._interval_s = interval_s
        self._next_at_s = first_at_s

    def try_acquire(self, now_s: float) -> bool:
        """Whether to log now, by the monotonic clock; the next time is an interval later then."""
        if now_s < self._next_at_s:
            return False
        self._next_at_s = now_s + self._interval_s
        return True

    def begin_anew(self) -> None:
        """Let the next trouble be logged at once: the last one is over, or this is another."""
        self._next_at_s = -math.inf
