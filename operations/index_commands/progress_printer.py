"""`ProgressPrinter`: prints how far a process is that goes on until it is stopped, as lines of text or JSON."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from ..cli.output import echo_line, print_json_line

PRINTED_EVERY_S: Final = 5.0
ProgressT = TypeVar("ProgressT")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressView(Generic[ProgressT]):
    """The lines about one process; their rate is that of `count` since the line before, per second.

    Attributes:
        count: what has grown by so many.
        line: one line for people.
        document: the same for `--json`.
        ended: the last line for people.
        news: a change of it is printed at once.
    """

    count: Callable[[ProgressT], int]
    line: Callable[[ProgressT, float], str]
    document: Callable[[ProgressT, float], dict[str, object]]
    ended: str
    news: Callable[[ProgressT], object] = lambda _progress: None


class ProgressPrinter(Generic[ProgressT]):
    """Prints a line every five seconds."""

    def __init__(self, view: ProgressView[ProgressT], *, as_json: bool) -> None:
        self._view = view
        self._as_json = as_json
        self._next_at_s = 0.0
        self._last = (time.monotonic(), 0)
        self._last_news: object = None

    def note(self, progress: ProgressT) -> None:
        """Print a line, if it is time."""
        now_s, news = time.monotonic(), self._view.news(progress)
        if now_s >= self._next_at_s or news != self._last_news:
            self._next_at_s = now_s + PRINTED_EVERY_S
            self._print(progress, now_s)
        self._last_news = news

    def end(self, progress: ProgressT) -> None:
        """Print the last line."""
        self._print(progress, time.monotonic())
        if not self._as_json:
            echo_line(self._view.ended)

    def _print(self, progress: ProgressT, now_s: float) -> None:
        (before_s, before), count = self._last, self._view.count(progress)
        rate = (count - before) / (now_s - before_s) if now_s > before_s else 0.0
        self._last = (now_s, count)
        if self._as_json:
            print_json_line(self._view.document(progress, rate))
        else:
            echo_line(self._view.line(progress, rate))
