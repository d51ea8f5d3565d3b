"""`Talk`: the child's side of the pipe to its worker, and `PipedHeartbeats`, which pass on those of a job."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Final

from ..job.heartbeats import JobProgress
from .log_relay import log_to_own_stderr
from .messages import (
    HEARTBEAT,
    AskFrames,
    CancelJob,
    Frames,
    FromChild,
    LogLine,
    Progressed,
    ShouldStop,
    pack,
    receive,
    write,
)

HEARTBEAT_INTERVAL_S: Final = 0.02


class Talk:
    """The child's side of the pipe; any thread may speak.

    Attributes:
        should_stop: whether the worker wants the job that runs to end by itself.
    """

    def __init__(self, pipe: Connection) -> None:
        self.should_stop = False
        self._amid = 0
        self._postponed: type[BaseException] | None = None
        self._pipe = pipe
        self._lock = threading.RLock()
        self._packed: deque[bytes] = deque()
        self._is_writing = False
        os.set_inheritable(pipe.fileno(), False)
        os.register_at_fork(after_in_child=self._forked)

    def tell(self, message: FromChild) -> None:
        """Send one message.

        Also where a collection or a signal handler has interrupted this, and logs: what comes while the same thread
        writes is written after that.
        """
        packed = pack(message)  # without the lock, since the application's classes take part
        if threading.current_thread() is not threading.main_thread():
            self._tell(packed)
            return
        self._amid += 1
        try:
            self._tell(packed)
        finally:
            self._amid -= 1
        if self._postponed is not None and not self._amid:
            error, self._postponed = self._postponed, None
            raise error

    @property
    def is_amid_message(self) -> bool:
        """Whether the main thread writes a message at this moment."""
        return self._amid > 0

    def interrupt_behind_message(self, error: type[BaseException]) -> None:
        """Raise the error in the main thread when the message is written."""
        self._postponed = error

    def _tell(self, packed: bytes) -> None:
        with self._lock:
            self._packed.append(packed)
            while self._packed and not self._is_writing:
                self._write_all()

    def _write_all(self) -> None:
        self._is_writing = True
        try:
            while self._packed:
                write(self._pipe, self._packed.popleft())
        finally:
            self._is_writing = False

    def tell_log(self, attributes: bytes) -> None:
        """Send a log record."""
        self.tell(LogLine(attributes))

    def listen(self, heard: SimpleQueue[object], cancel: Callable[[str], None]) -> None:
        """Pass on what the worker says, in a thread of its own; end everything when the worker is gone."""
        try:
            while True:
                message = receive(self._pipe)
                if isinstance(message, AskFrames):
                    self.tell(Frames(main_frames()))
                    continue
                self.should_stop = isinstance(message, ShouldStop | CancelJob)
                if isinstance(message, CancelJob):
                    cancel(message.place)
                elif not self.should_stop:
                    heard.put(message)
        except (EOFError, OSError):
            os.killpg(0, signal.SIGKILL)  # the group is this child's own, with whatever its jobs have started

    def _forked(self) -> None:
        """In a process that a job forks: what it wrote to the pipe would tear the child's own messages apart."""
        self._lock = threading.RLock()
        self._packed.clear()
        self._is_writing = False
        self._pipe.close()
        log_to_own_stderr()


def main_frames() -> tuple[str, ...]:
    """Where the thread is that runs the jobs."""
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    frames = [found for found, _ in traceback.walk_stack(frame)][::-1]
    return tuple(f"{found.f_code.co_filename}:{found.f_lineno} {found.f_code.co_qualname}" for found in frames)


class PipedHeartbeats:
    """The heartbeats of a job in a child: the worker repeats each on its own `Run`."""

    def __init__(self, talk: Talk) -> None:
        self._talk = talk
        self._told_s = 0.0

    @property
    def should_stop(self) -> bool:
        """What the worker has said."""
        return self._talk.should_stop

    def heartbeat(self) -> None:
        """Pass it on, unless that was done a moment ago."""
        now_s = time.monotonic()
        if now_s - self._told_s >= HEARTBEAT_INTERVAL_S:
            self._told_s = now_s
            self._talk.tell(HEARTBEAT)

    def progress(self, latest: JobProgress) -> None:
        """Pass it on."""
        self._talk.tell(Progressed(latest))
