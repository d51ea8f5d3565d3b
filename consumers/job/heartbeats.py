"""Heartbeats: how a running job shows that it moves, and learns that it should stop.

A run in this process keeps its heartbeats itself (`RunHeartbeats`). For a run in a child process, the child has
`PipedHeartbeats`, which send each over the pipe, and the worker repeats it on its own `Run`.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from .run import Run

NOTE_LIMIT: Final = 200
REPORT_INTERVAL_S: Final = 5.0
"""How often at most one run's progress becomes an event."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobProgress:
    """How far a run has come, by its own words.

    Attributes:
        done, total: in units of the job's own; total is None where the job does not know.
        note: what it is at, at most `NOTE_LIMIT` characters.
    """

    done: float
    total: float | None = None
    note: str = ""

    def __str__(self) -> str:
        """`3 of 10 (30 %), sending`."""
        share = f" of {self.total:,.15g} ({100 * self.done / self.total:.0f} %)" if self.total else ""
        return f"{self.done:,.15g}{share}" + (f", {self.note}" if self.note else "")


class Heartbeats(Protocol):
    """Takes a run's heartbeats."""

    @property
    def should_stop(self) -> bool:
        """Whether the run shall come to an end by itself."""
        ...

    def heartbeat(self) -> None:
        """Take note that the run is alive."""
        ...

    def progress(self, latest: JobProgress) -> None:
        """Take note of how far it is, which is a heartbeat too."""
        ...


class RunHeartbeats:
    """The heartbeats of a run that this process watches; made at the first one.

    Attributes:
        began_at_s, last_at_s: `time.monotonic()` of the run's begin and of its last heartbeat.
        latest: the last progress; None where the run has reported none.
        has_news: whether `latest` has not become an event yet.
        reported_at_s: when the last event was made of it.
    """

    __slots__ = ("_run", "began_at_s", "has_news", "last_at_s", "latest", "reported_at_s")

    def __init__(self, run: Run) -> None:
        self._run = run
        self.began_at_s = run.began_at_s
        self.last_at_s = self.began_at_s
        self.latest: JobProgress | None = None
        self.has_news = False
        self.reported_at_s = -math.inf

    @property
    def should_stop(self) -> bool:
        """Whether the worker shuts down or ends the run, the partition is given away, or the run is past its limits."""
        run = self._run
        is_unwanted = not run.record.assignment.is_current or run.interrupt_reason is not None
        return is_unwanted or time.monotonic() >= run.deadline_at_s

    def heartbeat(self) -> None:
        """Move the deadline on, but never past the timeout; that of an interrupted run stays."""
        limits = self._run.limits
        self.last_at_s = time.monotonic()
        if self._run.interrupt_reason is None:
            self._run.deadline_at_s = min(self.began_at_s + limits.timeout_s, self.last_at_s + limits.heartbeat_s)

    def give_back(self, lost_s: float) -> None:
        """Move the run's times on by what it has lost; `Run.give_back` moves its deadline."""
        self.began_at_s += lost_s
        self.last_at_s += lost_s

    def progress(self, latest: JobProgress) -> None:
        """Keep the job's latest report, for inspections and for an event."""
        self.latest = latest
        self.has_news = True
        self.heartbeat()

    def take_news(self, now_s: float) -> JobProgress | None:
        """The progress to make an event of, if there is news and the last event is long enough ago."""
        if not self.has_news or now_s - self.reported_at_s < REPORT_INTERVAL_S:
            return None
        self.has_news = False
        self.reported_at_s = now_s
        return self.latest
