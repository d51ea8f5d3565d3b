"""`CommitPace`: when the next commit is to be sent. Pure."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

ANSWER_WITHIN_S: Final = 90.0
"""The client answers each commit sooner, also where no broker does: its own time for a request is 60 s."""
WARY_INTERVAL_S: Final = 0.05
"""Commits are more frequent while deaths are remembered: the next owner shall know well what was running."""


class CommitPace:
    """One commit in each interval, and one at a time on its way; owned by the poll thread.

    The client repeats a commit whose connection broke, and were there a newer one already, the older would undo it: the
    coordinator keeps what comes last.

    Attributes:
        next_at_s: the monotonic time before which no commit is due; each turn asks that, so it is an attribute.
    """

    def __init__(self, interval: timedelta) -> None:
        self._interval_s = interval.total_seconds()
        self.next_at_s = 0.0
        self._sent_at_s: float | None = None

    def is_under_way(self, now_s: float) -> bool:
        """Whether a commit is on its way that may be answered yet."""
        return self._sent_at_s is not None and now_s - self._sent_at_s < ANSWER_WITHIN_S

    @property
    def awaits_answer(self) -> bool:
        """Whether a commit was sent that is not answered."""
        return self._sent_at_s is not None

    def begin_interval(self, now_s: float, *, is_wary: bool) -> None:
        """Let the next commit be due when an interval is over; a shorter one where deaths are remembered."""
        self.next_at_s = now_s + (min(WARY_INTERVAL_S, self._interval_s) if is_wary else self._interval_s)

    def hasten(self) -> None:
        """Let the next commit be due at once."""
        self.next_at_s = 0.0

    def note_sent(self, now_s: float) -> None:
        """Note that a commit is on its way."""
        self._sent_at_s = now_s

    def note_answered(self) -> None:
        """Note that the commit on its way was answered."""
        self._sent_at_s = None
