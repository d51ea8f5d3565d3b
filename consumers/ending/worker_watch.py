"""`WorkerWatch`: watches the poll threads of a worker until each has ended, or hangs for good."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

from ..errors import PollThreadHangs
from ..guarded_thread import GuardedThread
from .worker_failure import WorkerFailure

WATCH_INTERVAL_S: Final = 0.1


class Watched(Protocol):
    """The poll threads, as `PollThreads` has them."""

    @property
    def are_awaited(self) -> bool:
        """Whether any of them runs that does not hang for good."""

    def join(self, timeout_s: float) -> None:
        """Wait for their ends, for so long at the most."""

    def find_hang(self) -> PollThreadHangs | None:
        """One of them that hangs for good, found once."""


class WorkerWatch:
    """A thread of its own, so that it watches whatever the program does that has started the worker.

    It is the one thread for whose end Python waits, and it does end: so the process of a worker whose poll thread hangs
    can end as well.

    Args:
        end: called in the thread once nothing is to be watched any more; it ends the worker's other threads.
    """

    def __init__(self, threads: Watched, failure: WorkerFailure, end: Callable[[], None]) -> None:
        self._threads, self._failure, self._end = threads, failure, end
        self._thread = GuardedThread("stoker-watch", self._run, partial(failure.note_thread_end, "watches the others"))

    def start(self, *, daemon: bool) -> None:
        """Start it, once the poll threads are started."""
        self._thread.start(daemon=daemon)

    @property
    def is_alive(self) -> bool:
        """Whether it watches, or ends the worker."""
        return self._thread.is_alive

    def wait_ended(self, within_s: float | None) -> bool:
        """Wait until the worker has ended; False where it goes on after this time. None waits without a bound."""
        self._thread.join(within_s)
        return not self._thread.is_alive

    def _run(self) -> None:
        while self._threads.are_awaited:
            self._threads.join(WATCH_INTERVAL_S)
            hang = self._threads.find_hang()
            if hang is not None:
                self._failure.note_hang(hang)
        self._end()
