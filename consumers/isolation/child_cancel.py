"""`JobCanceller`: in a child, ends the job that runs where the worker has cancelled it.

The main thread runs the jobs. A signal interrupts it, also in a blocking call, so that the job can clean up before the
worker kills the process.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Final, Protocol

from ..job.endings import JobCancelled
from ..runners.forks import PROCESS

CANCEL_SIGNAL: Final = signal.SIGRTMIN + 1 if hasattr(signal, "SIGRTMIN") else signal.SIGUSR1


class PipeWriter(Protocol):
    """Writes to the worker's pipe; an interrupt amid a message would leave half of it there."""

    @property
    def is_amid_message(self) -> bool:
        """Whether the main thread writes a message at this moment."""
        ...

    def interrupt_behind_message(self, error: type[BaseException]) -> None:
        """Raise the error in the main thread when the message is written."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedTask:
    """The task of an async job; `holds_loop`: whether the main thread is inside of the job at this moment."""

    task: asyncio.Task[None]
    loop: asyncio.AbstractEventLoop
    holds_loop: Callable[[], bool]


class JobCanceller:
    """The listening thread calls `cancel`, the main thread all else.

    The job that runs is known by its record's place, so that a cancel that comes late does not end the next one. A job
    is interrupted once, and may clean up.
    """

    def __init__(self, writer: PipeWriter) -> None:
        self._writer = writer
        self._cancelled: str | None = None
        self._running: str | None = None
        self._is_inside = self._was_interrupted = False
        self._task: WatchedTask | None = None

    def install(self) -> None:
        """Take the signal from now on."""
        PROCESS.handle_signal(CANCEL_SIGNAL, self._on_signal)

    def cancel(self, place: str) -> None:
        """End the job of this record, if it runs."""
        self._cancelled = place
        watched = self._task
        if watched is not None:
            watched.loop.call_soon_threadsafe(self._cancel_task, place)
        main = threading.main_thread().ident
        if hasattr(signal, "pthread_kill") and main is not None:
            signal.pthread_kill(main, CANCEL_SIGNAL)

    def begin(self, place: str) -> None:
        """Note that this job is next."""
        self._was_interrupted = False
        self._running = place

    def enter(self) -> None:
        """Note that the main thread is inside of the sync job from now on.

        Raises:
            JobCancelled: the job was cancelled before.
        """
        self._is_inside = True
        if self.is_cancelled and not self._was_interrupted:
            self._was_interrupted = True
            raise JobCancelled

    def leave(self) -> None:
        """Note that the main thread is inside of the sync job no more."""
        self._is_inside = False

    def end(self) -> None:
        """Note that no job runs."""
        self._is_inside = False
        self._running = self._task = None

    def watch(self, watched: WatchedTask) -> None:
        """Cancel this task where the job is cancelled."""
        self._task = watched
        if self.is_cancelled:
            self._cancel_task(self._running)

    @property
    def is_cancelled(self) -> bool:
        """Whether the job that runs is cancelled."""
        return self._running is not None and self._cancelled == self._running

    def _cancel_task(self, place: str | None) -> None:
        """Between two steps of the job; not where it was interrupted amid one, since it may clean up by now."""
        if self._task is not None and place == self._running and not self._was_interrupted:
            self._was_interrupted = True
            self._task.task.cancel()

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        is_inside = self._is_inside or (self._task is not None and self._task.holds_loop())
        if not is_inside or not self.is_cancelled or self._was_interrupted:
            return
        self._was_interrupted = True
        if self._writer.is_amid_message:
            self._writer.interrupt_behind_message(JobCancelled)
        else:
            raise JobCancelled
