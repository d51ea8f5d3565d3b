"""`ChildPipe`: the child's end of the pipe to its worker, for a job's heartbeats and the blocks of its dependencies."""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Collection
from contextlib import suppress
from multiprocessing.connection import Connection
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Final

from ...topology import RetryPolicy
from ..job.dependencies import Dependencies, UnknownDependency, has_failed, why_of
from ..job.heartbeats import JobProgress
from .log_relay import log_to_own_stderr
from .messages import (
    HEARTBEAT,
    AskFrames,
    CancelJob,
    DependencyAnswer,
    EnterDependency,
    Frames,
    FromChild,
    LeftDependency,
    LogLine,
    Progressed,
    ShouldStop,
    pack,
    receive,
    write,
)

if TYPE_CHECKING:
    from ..job.run import CurrentRun

HEARTBEAT_INTERVAL_S: Final = 0.02


class ChildPipe:
    """The child's end of the pipe; safe to call from all threads.

    Attributes:
        should_stop: whether the worker has asked the running job to end by itself.
    """

    def __init__(self, pipe: Connection) -> None:
        self.should_stop = False
        self._amid = 0
        self._postponed: type[BaseException] | None = None
        self._pipe = pipe
        self._lock = threading.RLock()
        self._packed: deque[bytes] = deque()
        self._answers = SimpleQueue[DependencyAnswer]()
        self._is_writing = False
        os.set_inheritable(pipe.fileno(), False)
        os.register_at_fork(after_in_child=self._forked)

    def send(self, message: FromChild) -> None:
        """Send one message.

        A garbage collection or a signal handler may interrupt this call and log: the pipe then writes that message
        after this one.
        """
        packed = pack(message)  # without the lock, since the application's classes take part
        if threading.current_thread() is not threading.main_thread():
            self._write_next(packed)
            return
        self._amid += 1
        try:
            self._write_next(packed)
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

    def _write_next(self, packed: bytes) -> None:
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

    def send_log(self, attributes: bytes) -> None:
        """Send a log record."""
        self.send(LogLine(attributes))

    def ask(self, question: EnterDependency) -> DependencyAnswer:
        """Ask the worker, and wait for its answer, which is not long: a thread of its own waits for this job."""
        with suppress(Empty):
            while True:
                self._answers.get_nowait()  # the answer to a job that was interrupted while it waited
        self.send(question)
        return self._answers.get()

    def listen(
        self, received: SimpleQueue[object], cancel: Callable[[str], None], report_to: Collection[int] = ()
    ) -> None:
        """Receive the worker's messages, in a thread of its own; kill this process and its jobs' when that ends.

        Else the child would live on deaf: it would be given jobs, and not begin with them.

        Args:
            report_to: the numbers of the open files to which it writes why it ends, while the worker lives; first the
                one that matters most.
        """
        try:
            while True:
                self._take(receive(self._pipe), received, cancel)
        except BaseException as error:  # noqa: BLE001  # such as `MemoryError`, at a message that is too large
            if not _is_end(error):
                _report_deafness(error, report_to)
        finally:
            os.killpg(0, signal.SIGKILL)  # the group is this child's own, with whatever its jobs have started

    def _take(self, message: object, received: SimpleQueue[object], cancel: Callable[[str], None]) -> None:
        """Act on one message of the worker's."""
        match message:
            case AskFrames():
                self.send(Frames(main_frames()))
            case DependencyAnswer():
                self._answers.put(message)
            case CancelJob(place=place):
                self.should_stop = True
                cancel(place)
            case ShouldStop():
                self.should_stop = True
            case _:
                self.should_stop = False
                received.put(message)

    def _forked(self) -> None:
        """In a process that a job forks: what it wrote to the pipe would tear the child's own messages apart."""
        self._lock = threading.RLock()
        self._packed.clear()
        self._is_writing = False
        self._pipe.close()
        log_to_own_stderr()


def main_frames() -> tuple[str, ...]:
    """The stack of the thread that runs the jobs, the innermost call last."""
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    frames = [found for found, _ in traceback.walk_stack(frame)][::-1]
    return tuple(f"{found.f_code.co_filename}:{found.f_lineno} {found.f_code.co_qualname}" for found in frames)


def _is_end(error: BaseException) -> bool:
    """Whether the worker has ended, be it amid a message: `Connection` raises an `OSError` without a number then."""
    is_amid_message = type(error) is OSError and error.errno is None
    return is_amid_message or isinstance(error, (EOFError, ConnectionError))


def _report_deafness(error: BaseException, files: Collection[int]) -> None:
    """Write why the child ends; not by the log, which goes through the pipe."""
    with suppress(BaseException):  # there may be no memory for it
        line = "".join(traceback.format_exception_only(error)).strip()
        stack = "".join(traceback.format_exception(error))
        text = f"child process {os.getpid()} ends, since it cannot hear its worker any more: {line}\n{stack}"
        for file in files:
            with suppress(BaseException):  # one that is closed or broken does not matter to the next
                _write_unless_full(file, text.encode("utf-8", "replace"))


def _write_unless_full(file: int, text: bytes) -> None:
    """Write as much as a pipe takes at once where it has room; one that is full would keep the child from its end."""
    room = select.poll()
    room.register(file, select.POLLOUT)
    if room.poll(0):
        os.write(file, text[: select.PIPE_BUF])


class PipedHeartbeats:
    """The heartbeats of a job in a child: the worker repeats each on its own `Run`."""

    def __init__(self, pipe: ChildPipe) -> None:
        self._pipe = pipe
        self._sent_at_s = 0.0

    @property
    def should_stop(self) -> bool:
        """Whether the worker has asked the job to end by itself."""
        return self._pipe.should_stop

    def heartbeat(self) -> None:
        """Send a heartbeat, at most one in `HEARTBEAT_INTERVAL_S`."""
        now_s = time.monotonic()
        if now_s - self._sent_at_s >= HEARTBEAT_INTERVAL_S:
            self._sent_at_s = now_s
            self._pipe.send(HEARTBEAT)

    def progress(self, latest: JobProgress) -> None:
        """Send the job's report."""
        self._pipe.send(Progressed(latest))


class PipedDependencies(Dependencies):
    """The dependencies of a job in a child: the worker answers, and counts how each block ends."""

    def __init__(self, pipe: ChildPipe, policy: RetryPolicy) -> None:
        self._pipe, self._policy = pipe, policy

    def enter(self, name: str) -> None:
        """Ask the worker whether the block may begin."""
        answer = self._pipe.ask(EnterDependency(name))
        if answer.known is not None:
            raise UnknownDependency(name, answer.known)
        if answer.down is not None:
            raise answer.down

    def leave(self, name: str, run: CurrentRun, error: BaseException | None) -> None:
        """Send how it ends."""
        why = "" if error is None else why_of(error)
        self._pipe.send(LeftDependency(name, has_failed(error, self._policy, run), why))
