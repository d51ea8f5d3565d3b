"""A fleet on a terminal, seen from outside: what its processes print scrolls above a table of its queues.

The processes write to a pipe instead of the terminal, since a line of theirs inside the drawn table would tear it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ...topology import Queue
from ..cluster_view import ClusterView
from ..views.live_view import REDRAWS_PER_S, plain
from .offset_reading import OffsetReading, read_offsets
from .queues import QueueStatus, inspect_queues

LOOK_INTERVAL_S: Final = 1.0
_LAST_LINES_S: Final = 2.0
"""How long to wait for the processes' last lines: a stray grandchild may hold the pipe open for ever."""
_STDOUT: Final = 1
_STDERR: Final = 2


class FleetView:
    """The queues of a fleet as the cluster knows them, looked at again and again."""

    def __init__(self, view: ClusterView, queues: Sequence[Queue], size: int) -> None:
        self._view, self._queues, self._size = view, queues, size
        self._statuses: list[QueueStatus] = []
        self._before: OffsetReading | None = None
        self._note = "looking…"
        self._running = 0

    def note_processes(self, process_ids: Sequence[int]) -> None:
        """Take in how many processes run."""
        self._running = len(process_ids)

    def refresh(self) -> None:
        """Look once; what keeps the view from that is shown, and it looks again the next time."""
        try:
            now = read_offsets(self._view, self._queues)
            self._statuses = inspect_queues(self._view, self._queues, now, self._before)
            self._before, self._note = now, ""
        except Exception as error:  # noqa: BLE001  # else the table would keep the figures of this moment for ever
            self._note = str(error) or repr(error)

    def table(self) -> Table:
        """The table of the last reading."""
        title = f"fleet: {self._running} of {self._size} processes run · Ctrl+C ends"
        table = Table(title=title, title_justify="left", caption=plain(self._note), caption_justify="left", box=None)
        for name in ("queue", "jobs/s", "in/s", "lag", "delayed", "workers"):
            table.add_column(name, justify="left" if name == "queue" else "right")
        for status in self._statuses:
            table.add_row(*map(plain, _row(status)))
        return table


def _row(status: QueueStatus) -> list[str]:
    pace = status.pace
    rates = (f"{pace.done_per_s:,.0f}", f"{pace.enqueued_per_s:,.0f}") if pace else ("?", "?")
    delayed = status.waiting - status.lag
    return [status.name, *rates, f"{status.lag:,}", f"{delayed:,}", str(len(status.group.members))]


@contextmanager
def fleet_screen(view: FleetView) -> Iterator[None]:
    """Draw the view on the terminal for as long as the context lasts, with all other output above it."""
    ended = threading.Event()
    looking = threading.Thread(target=_look_until, args=(view, ended), name="stoker-fleet-view", daemon=True)
    with os.fdopen(os.dup(_STDERR), "w") as terminal, _drawn(view, Console(file=terminal, force_terminal=True)) as live:
        with _gathered_output() as lines:
            printing = threading.Thread(
                target=_print_lines, args=(lines, live.console), name="stoker-relay", daemon=True
            )
            printing.start()
            looking.start()
            try:
                yield
            finally:
                ended.set()
        printing.join(_LAST_LINES_S)
        looking.join(_LAST_LINES_S)


def _drawn(view: FleetView, console: Console) -> Live:
    return Live(
        get_renderable=view.table,
        console=console,
        refresh_per_second=REDRAWS_PER_S,
        redirect_stdout=False,
        redirect_stderr=False,
    )


def _look_until(view: FleetView, ended: threading.Event) -> None:
    while not ended.is_set():
        view.refresh()
        ended.wait(LOOK_INTERVAL_S)


def _print_lines(pipe: int, console: Console) -> None:
    with os.fdopen(pipe, errors="replace") as lines:
        for line in lines:
            console.print(Text(line.rstrip("\n")), soft_wrap=True)


@contextmanager
def _gathered_output() -> Iterator[int]:
    """Send what this process and its children write to a terminal into a pipe instead.

    Yields:
        The descriptor to read it from, which the reader closes; it ends when all who write have ended.
    """
    reading, writing = os.pipe()
    kept = {number: os.dup(number) for number in (_STDOUT, _STDERR) if os.isatty(number)}
    for number in kept:
        os.dup2(writing, number)
    os.close(writing)
    try:
        yield reading
    finally:
        for number, was in kept.items():
            os.dup2(was, number)
            os.close(was)
