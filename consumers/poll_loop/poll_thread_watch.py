"""`PollThreadWatch`: reports a poll thread that does not turn any more, since its queue stands still without a word."""

from __future__ import annotations

import logging
import math
from typing import Final

from ...topology.log_pace import LogPace
from .. import log_keys
from ..runners.stacks import describe_frames, thread_frames

_LOGGER = logging.getLogger("stoker.worker")

STUCK_AFTER_S: Final = 60.0
"""A poll thread that has not turned for so long is reported, with its stack, and again each time."""
GIVE_UP_AFTER_S: Final = 600.0
"""Twice librdkafka's `max.poll.interval.ms`: the partitions are long with others, and only a restart brings it back."""


class PollThreadWatch:
    """Watches one poll thread, and logs its stack while it hangs."""

    def __init__(self, queue: str) -> None:
        self._queue = queue
        self._hangs_since_at_s = math.inf
        self._log_pace = LogPace(STUCK_AFTER_S)

    def forget(self) -> None:
        """Note that the thread turns, or that it need not."""
        self._hangs_since_at_s = math.inf
        self._log_pace.begin_anew()

    def is_lost(self, last_turn_at_s: float, thread_id: int, now_s: float) -> bool:
        """Look at the thread, and log now and then that it hangs; True where it was seen to hang for very long.

        Where it *was seen*: a process that was frozen is not at fault.
        """
        if now_s - last_turn_at_s < STUCK_AFTER_S:
            self.forget()
            return False
        self._hangs_since_at_s = min(self._hangs_since_at_s, now_s)
        if self._log_pace.try_acquire(now_s):
            self._report(now_s - last_turn_at_s, thread_id)
        return now_s - self._hangs_since_at_s > GIVE_UP_AFTER_S

    def _report(self, for_s: float, thread_id: int) -> None:
        _LOGGER.error(
            "the poll thread of queue %r has not turned for %.0f s: it fetches and commits nothing; restart the "
            "worker\n%s", self._queue, for_s, describe_frames(thread_frames(thread_id)),
            extra={log_keys.QUEUE: self._queue},
        )  # fmt: skip
