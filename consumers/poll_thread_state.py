"""`PollThreadState`: what other parts of a worker see of its poll thread, and what they ask of it."""

from __future__ import annotations

import math
import threading
import time

from ..producers.metrics.all_metrics import TURN_BOUNDS_S
from ..producers.metrics.histogram import Histogram


class PollThreadState:
    """The state of one queue's poll thread; it writes all but the events, which any thread may set.

    Attributes:
        ident: of the thread, once it runs.
        last_turn_at_s: when it turned last, by the monotonic clock.
        turns: counts the time from one turn to the next, in seconds.
        is_stopping: set once the graceful shutdown is asked for.
        is_stopping_now: set once a shutdown without waiting for running jobs is asked for.
        is_leaving: whether it has begun to shut down; then it turns as long as it waits for running jobs.
        has_ended: whether it is at its end, and turns no more.
    """

    def __init__(self) -> None:
        self.ident = 0
        self.last_turn_at_s = time.monotonic()
        self.turns = Histogram(TURN_BOUNDS_S)
        self.is_stopping = threading.Event()
        self.is_stopping_now = threading.Event()
        self.is_leaving = False
        self.has_ended = False
        self._leave_at_s = math.inf

    def begin(self) -> None:
        """Note that the calling thread is the poll thread."""
        self.ident = threading.get_ident()
        self.last_turn_at_s = time.monotonic()

    def end(self) -> None:
        """Note that it turns no more, since it is at its end."""
        self.has_ended = True

    def note_turn(self) -> None:
        """Note that it turns, or waits within a bound."""
        now_s = time.monotonic()
        self.turns.note(now_s - self.last_turn_at_s)
        self.last_turn_at_s = now_s

    def turn_age_s(self, now_s: float) -> float:
        """How long it has not turned; 0 once it has ended."""
        return 0.0 if self.has_ended else max(0.0, now_s - self.last_turn_at_s)

    def begin_grace(self, grace_s: float) -> None:
        """Let the shutdown wait for running jobs from now on, for so long at the most."""
        self.is_leaving = True
        self._leave_at_s = time.monotonic() + grace_s

    def end_grace(self) -> None:
        """Let nothing wait for running jobs any more."""
        self._leave_at_s = 0.0

    @property
    def is_out_of_time(self) -> bool:
        """Whether the shutdown waits for running jobs no more."""
        return self.is_stopping_now.is_set() or time.monotonic() >= self._leave_at_s
