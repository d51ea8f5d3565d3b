"""A running worker on a terminal: its rate, jobs in flight and unfinished jobs by queue, drawn anew twice a second."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Final

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ...consumers.inspection.snapshot import QueueSnapshot
from .terminal_text import printable

REDRAWS_PER_S: Final = 2
_WINDOW_S: Final = 5.0
_MOST_PROGRESS: Final = 5
_GOOD: Final = frozenset({"Done"})

TakeSnapshot = Callable[[], Sequence[QueueSnapshot]]


class RateMeter:
    """The pace of a count over the last seconds."""

    def __init__(self, window_s: float = _WINDOW_S) -> None:
        self._window_s = window_s
        self._seen: list[tuple[float, int]] = []

    def note(self, now_s: float, count: int) -> float:
        """Take in the count of this moment; the answer is its growth per second within the window."""
        self._seen.append((now_s, count))
        while len(self._seen) > 2 and self._seen[1][0] <= now_s - self._window_s:
            self._seen.pop(0)
        first_s, first = self._seen[0]
        return (count - first) / (now_s - first_s) if now_s > first_s else 0.0


def plain(text: str) -> Text:
    """Foreign text as it is: without control of the terminal, and without the markup that rich reads in brackets."""
    return Text(printable(text))


class WorkerView:
    """Draws a worker's snapshots as a table."""

    def __init__(self, take: TakeSnapshot, title: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._take, self._title, self._clock = take, title, clock
        self._meters: dict[str, RateMeter] = {}

    def table(self) -> Table:
        """The table of this moment."""
        table = Table(title=plain(self._title), title_justify="left", box=None, pad_edge=False)
        for name in ("queue", "jobs/s", "done", "in flight", "delayed", "unfinished", "partitions", ""):
            table.add_column(name, justify="left" if name in ("queue", "") else "right")
        for snapshot in self._take():
            table.add_row(*map(plain, self._row(snapshot)))
            for job_id, latest in list(snapshot.progress.items())[:_MOST_PROGRESS]:
                table.add_row(*[""] * 7, plain(f"{job_id}: {latest}"))
        return table

    def _row(self, snapshot: QueueSnapshot) -> list[str]:
        rate = self._meters.setdefault(snapshot.queue, RateMeter()).note(self._clock(), snapshot.settled)
        done = sum(count for name, count in snapshot.outcomes.items() if name in _GOOD)
        return [
            snapshot.queue,
            f"{rate:,.0f}",
            f"{done:,}",
            f"{snapshot.in_flight:,}",
            f"{snapshot.delayed:,}",
            "?" if snapshot.unfinished is None else f"{snapshot.unfinished:,}",
            str(len(snapshot.partitions)),
            _state(snapshot),
        ]


def _state(snapshot: QueueSnapshot) -> str:
    """The state of a queue in words: its other outcomes, and why it fetches nothing."""
    others = [f"{count:,} {name.lower()}" for name, count in sorted(snapshot.outcomes.items()) if name not in _GOOD]
    if snapshot.member_state == "leaving":
        others.insert(0, "shutting down")
    elif not snapshot.partitions:
        others.insert(0, f"no partitions: {snapshot.waits_for or 'they are about to come'}")
    if snapshot.stuck:
        others.insert(0, f"{snapshot.stuck:,} stuck past their timeout")
    if snapshot.children is not None and snapshot.children.trouble_in_words:
        others.insert(0, snapshot.children.trouble_in_words)
    if snapshot.is_paused and snapshot.member_state != "leaving":
        others.insert(0, "full: fetching rests")
    return " · ".join(others)


def live(view: WorkerView, console: Console | None = None) -> AbstractContextManager[Live]:
    """Show the view on the terminal for as long as the context lasts; log lines appear above it."""
    return Live(
        get_renderable=view.table,
        console=console or Console(stderr=True),
        refresh_per_second=REDRAWS_PER_S,
        vertical_overflow="visible",
    )
