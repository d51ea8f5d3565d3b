"""`watch_ended`: shows how many of the jobs that an order means have ended, as their workers count them."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import click

from ...topology.counts import counted
from ..cli.exit_codes import ExitCode
from ..cli.output import echo_line
from ..cli.process_end import stop_signals
from ..cli.publishing import progress_lines

if TYPE_CHECKING:
    from ...producers.control import Answers, OrderReceipt

IDLE_S: Final = 20.0
"""Workers write their statuses every 5 s: if none has ended a job for so long, the others wait for something."""
LONGEST: Final = timedelta(days=30)

Show = Callable[[int], None]


def watch_ended(receipt: OrderReceipt, total: int) -> None:
    """Show it until all have ended, none does any more, or the user has seen enough."""
    if not total:
        return
    ended = _Ended(total, IDLE_S)
    with stop_signals() as stop, _shown(total) as show:
        receipt.wait(LONGEST, lambda answers: ended.note(answers, show) or stop.is_set())
    echo_line(ended.words, err=True)
    if stop.is_set():
        click.get_current_context().exit(ExitCode.INTERRUPTED)


class _Ended:
    """How many have, of how many."""

    def __init__(self, total: int, idle_s: float) -> None:
        self._total, self._idle_s = total, idle_s
        self._count, self._at_s, self._is_idle, self._workers = 0, time.monotonic(), False, 0

    def note(self, answers: Answers, show: Show) -> bool:
        """Take what the workers have answered; whether there is nothing more to wait for."""
        now_s = time.monotonic()
        if answers.ended > self._count:
            self._count, self._at_s = answers.ended, now_s
        show(self._count)
        self._workers, self._is_idle = len(answers.answers), now_s - self._at_s >= self._idle_s
        return self._count >= self._total or self._is_idle or not answers.answers

    @property
    def words(self) -> str:
        """How it ended."""
        ended = f"ended: {self._count:,} of {counted(self._total, 'job')}"
        if self._count >= self._total:
            return ended
        if not self._workers:
            return f"{ended}; no worker runs, and those that start go on"
        if self._is_idle:
            return (
                f"{ended}, and none in the last {self._idle_s:.0f} s: the others had ended before, or wait for their "
                "workers; `stoker queues` shows what waits, `stoker control log` how many have ended"
            )
        return f"{ended}; workers go on, and `stoker control log` shows how far they are"


@contextmanager
def _shown(total: int) -> Iterator[Show]:
    """A bar on a terminal, elsewhere a line every few seconds."""
    if not sys.stderr.isatty():
        yield progress_lines(total, "ended")
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = TextColumn("ended"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("ended", total=total)
        yield lambda count: bar.update(task, completed=count)
