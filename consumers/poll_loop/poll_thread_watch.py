"""`PollThreadWatch`: reports a poll thread that does not turn any more, since its queue stands still without a word."""

from __future__ import annotations

import logging
import math
from datetime import timedelta
from functools import partial
from typing import Final

from ...topology.bounded_log import log_within
from ...topology.log_pace import LogPace
from .. import log_keys
from ..ending.stop_bound import POLL_THREAD_AFTER_GRACE_S, POLL_THREAD_AT_ONCE_S, StopBound
from ..poll_thread_state import PollThreadState
from ..runners.stacks import describe_frames, thread_frames

_LOGGER = logging.getLogger("stoker.worker")

STUCK_AFTER_S: Final = 60.0
"""A poll thread that has not turned for so long is reported, with its stack, and again each time."""
GIVE_UP_AFTER_S: Final = 600.0
"""Twice librdkafka's `max.poll.interval.ms`: the partitions are long with others, and only a restart brings it back."""


class PollThreadWatch:
    """Watches one poll thread: logs its stack while it hangs, and finds out when it does so for good.

    Args:
        grace: how long its shutdown lets running jobs go on.
    """

    def __init__(self, queue: str, state: PollThreadState, grace: timedelta) -> None:
        self._queue, self._state = queue, state
        self._hangs_since_at_s = math.inf
        self._log_pace = LogPace(STUCK_AFTER_S)
        self._stop_bound = StopBound(grace, POLL_THREAD_AFTER_GRACE_S, POLL_THREAD_AT_ONCE_S)
        self._phase: tuple[bool, float] | None = None

    def find_hang(self, now_s: float) -> str | None:
        """Look at the thread, and log now and then that it hangs; returns how, where it does so for good."""
        if self._state.has_ended:
            return None
        if self._has_hung_for_long(now_s):
            return f"has not turned for {self._state.turn_age_s(now_s):.0f} s"
        if self._state.is_stopping.is_set() and self._ends_too_late(now_s):
            how = " at once" if self._state.is_stopping_now.is_set() else ""
            return f"was asked to stop{how}, and has not ended in the time that this takes at most"
        return None

    def _has_hung_for_long(self, now_s: float) -> bool:
        """Whether it was *seen* to hang for very long: a process that was frozen is not at fault."""
        age_s = self._state.turn_age_s(now_s)
        if age_s < STUCK_AFTER_S:
            self._hangs_since_at_s = math.inf
            self._log_pace.begin_anew()
            return False
        self._hangs_since_at_s = min(self._hangs_since_at_s, now_s)
        if self._log_pace.try_acquire(now_s):
            self._report(age_s)
        return now_s - self._hangs_since_at_s > GIVE_UP_AFTER_S

    def _ends_too_late(self, now_s: float) -> bool:
        """Whether it exceeds the time for a stop.

        That begins with each turn before the shutdown, so once a wait for a rebalance is over, and with the shutdown,
        when the grace begins.
        """
        is_leaving = self._state.is_leaving
        phase = is_leaving, 0.0 if is_leaving else self._state.last_turn_at_s
        if phase != self._phase:
            self._phase = phase
            self._stop_bound.begin_anew()
        return self._stop_bound.is_over(now_s, is_at_once=self._state.is_stopping_now.is_set())

    def stack(self) -> str:
        """Where the thread is, as a traceback shows it."""
        return describe_frames(thread_frames(self._state.ident))

    def _report(self, for_s: float) -> None:
        report = partial(
            _LOGGER.error,
            "the poll thread of queue %r has not turned for %.0f s: it fetches and commits nothing; restart the "
            "worker\n%s", self._queue, for_s, self.stack(),
            extra={log_keys.QUEUE: self._queue},
        )  # fmt: skip
        log_within(report)  # the thread may hang in the log itself
