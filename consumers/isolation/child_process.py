"""`ChildProcess`: one child as the worker sees it: started, spoken to, looked at, killed, accounted for.

Started as a new Python process and never by a plain fork: threads of the Kafka client are about, whose locks a fork
would copy in whatever state they are.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import replace
from enum import Enum
from multiprocessing.connection import Pipe
from queue import Empty, Queue
from typing import Final

from ..machine import MAXRSS_UNIT_BYTES, resident_bytes
from .crashes import ChildDied
from .log_relay import handle_child_log, log_levels
from .messages import (
    ASK_FRAMES,
    LEAVE,
    SHOULD_STOP,
    STACK_SIGNAL,
    CancelJob,
    DependencyAnswer,
    Frames,
    FromChild,
    LogLine,
    RunJob,
    Setup,
    Started,
    StartFailed,
    ToChild,
    pack,
    receive,
    send,
    write,
)

TAKE_WITHIN_S: Final = 10.0
"""How long a child may take to report that a job begins; what the job imports comes after that."""
FIRST_TAKE_WITHIN_S: Final = 60.0
"""How long it may take at its first job: threads of the application may hold the interpreter, as to load a model."""
TAKEN_BYTES_PER_S: Final = 10_000_000
"""A large job may take so much longer, as on a machine that swaps."""
SURELY_TAKEN_BYTES: Final = 16 * 1024
"""Bytes that fit on every system into a pipe that is empty, as it is between two jobs."""
STACK_WAIT_S: Final = 1.0
END_WAIT_S: Final = 0.25
KILL_WAIT_S: Final = 5.0
"""The kernel may take its time to free much memory; beyond this, it is stuck in there."""
END_POLL_S: Final = 0.002
STACK_POLL_S: Final = 0.01
STACK_LIMIT_BYTES: Final = 16_000
LINES_AT_ONCE: Final = 100
"""After so many log lines the limits of a job are looked at, lest one that logs without end escapes them."""

BOOTSTRAP: Final = (
    "import pickle, sys; from multiprocessing.connection import Connection; pipe = Connection({pipe}); "
    "sys.path[:] = pickle.loads(pipe.recv_bytes()); from stoker.consumers.isolation.child_main import main; main(pipe)"
)


class ChildState(Enum):
    """Where a child is in its life."""

    STARTING = "starting"
    IDLE = "idle"
    BUSY = "busy"
    LEAVING = "leaving"
    GONE = "gone"


class ChildProcess:
    """One child. All but `kill`, `frames` and the attributes belongs to one thread at a time.

    Attributes:
        state: its own methods alone change it.
        jobs: how many it has been given.
        resident: its memory in bytes, as last seen.
        is_due_to_recycle: whether it shall go as soon as another one can take its place.
        is_doomed: whether it was killed; it may take a moment to end.
        has_outlived: whether it was killed, and had not ended after `KILL_WAIT_S`.
        take_within_s: how long it may take to report that its latest job begins; it is killed afterwards.
        is_taking: whether a job is being sent to it.
    """

    def __init__(self, setup: Setup) -> None:
        self._pipe, theirs = Pipe()
        self._stacks = tempfile.TemporaryFile()  # noqa: SIM115  # closed with the child
        self._stacks_read = 0
        self._sending = threading.Lock()
        self._frames: Queue[tuple[str, ...]] = Queue()
        self._is_asked = False
        own_setup = replace(setup, stack_file=self._stacks.fileno(), log_levels=log_levels())
        command = [sys.executable, *_interpreter_options(), "-c", BOOTSTRAP.format(pipe=theirs.fileno())]
        with theirs:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), self._stacks.fileno()),
                process_group=0,  # the terminal's Ctrl+C is not for it, and what its jobs start ends with it
            )
        self.pid = self._process.pid
        self.state = ChildState.STARTING
        self.started_at_s = time.monotonic()
        self.leave_at_s = 0.0
        self.jobs = 0
        self.resident = 0
        self.is_due_to_recycle = False
        self.is_doomed = False
        self.has_outlived = False
        self.take_within_s = 0.0
        self.is_taking = False
        self._has_hung_up = False
        self._silent_s = 0.0
        self._peak_at_start = 0
        self._peak = 0
        with suppress(OSError):  # it has ended already, which its exit code shows
            self._pipe.send_bytes(pickle.dumps(sys.path))
            send(self._pipe, own_setup)

    def read_answer(self) -> Started | StartFailed | None:
        """Read the messages of a child that has no job; handles its log records."""
        while True:
            message = self.next_message(0)
            if isinstance(message, Started):
                self._peak_at_start = message.peak_bytes
                self.sample()
            if message is None or isinstance(message, Started | StartFailed):
                return message

    def next_message(self, wait_s: float) -> FromChild | None:
        """The next message but log lines, which are handled; None if there is none, or the child has ended."""
        try:
            for _ in range(LINES_AT_ONCE):
                if not self._pipe.poll(wait_s):
                    break
                message: FromChild = receive(self._pipe)
                if isinstance(message, Frames):
                    self._is_asked = False
                    self._frames.put(message.lines)
                elif isinstance(message, LogLine):
                    handle_child_log(message.attributes)
                else:
                    return message
                wait_s = 0
        except (EOFError, OSError):
            self._has_hung_up = True
            self._wait_ended()
        return None

    @property
    def has_more(self) -> bool:
        """Whether a message of it was not read yet."""
        try:
            return not self._has_hung_up and self._pipe.poll(0)
        except OSError:
            return False

    def begin(self, job: RunJob) -> bool:
        """Give it a job; False if it has died meanwhile, or was killed since it does not take it."""
        self.take_within_s = TAKE_WITHIN_S if self.jobs else FIRST_TAKE_WITHIN_S
        self.take_within_s += job.size_bytes / TAKEN_BYTES_PER_S
        self.jobs += 1
        try:
            if job.size_bytes < SURELY_TAKEN_BYTES:
                self._send(job)
            else:
                self._send_or_kill(pack(job))
        except OSError:
            self._wait_ended()
            return False
        return True

    def _send_or_kill(self, packed: bytes) -> None:
        """Send a job; kill a child that does not read it in time, such as one that hangs in C code."""
        late = threading.Timer(self.take_within_s, self.kill_silent)
        late.daemon = True
        late.start()
        try:
            with self._sending:
                write(self._pipe, packed)
        finally:
            late.cancel()

    def _send(self, message: ToChild) -> None:
        with self._sending:
            send(self._pipe, message)

    def frames(self, within_s: float) -> tuple[str, ...]:
        """Where its job is, reported by the child without disturbing the job; empty if it does not answer in time.

        Called from any thread; the answer comes to the one that waits for the job. A child that has not answered yet
        is not asked again: unread questions would fill the pipe, and the next message would wait for ever.
        """
        with suppress(Empty, OSError):  # it has died, or C code holds its interpreter
            while not self._frames.empty():
                self._frames.get_nowait()  # an answer that came too late for an earlier question
            if not self._is_asked:
                self._is_asked = True
                self._send(ASK_FRAMES)
            return self._frames.get(timeout=within_s)
        return ()

    def ask_to_stop(self) -> None:
        """Ask the job that runs to come to an end by itself."""
        with suppress(OSError):  # the child has died, which is noticed elsewhere
            self._send(SHOULD_STOP)

    def answer(self, answer: DependencyAnswer) -> None:
        """Answer the job that enters the block of a dependency."""
        with suppress(OSError):  # as above
            self._send(answer)

    def send_cancel(self, place: str) -> None:
        """Have the job of this record end, after it has cleaned up."""
        with suppress(OSError):  # as above
            self._send(CancelJob(place))

    def sample(self) -> int:
        """Look at its memory; as last seen if it is gone."""
        self.resident = resident_bytes(self.pid) or self.resident
        return self.resident

    def stack(self, within_s: float = STACK_WAIT_S) -> str:
        """Where its threads are at this moment; empty if it does not answer in time."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, STACK_SIGNAL)
        give_up_at_s = time.monotonic() + within_s
        size = 0
        while time.monotonic() < give_up_at_s:
            time.sleep(STACK_POLL_S)
            before, size = size, os.fstat(self._stacks.fileno()).st_size
            if size == before > self._stacks_read and os.pread(self._stacks.fileno(), 1, size - 1) == b"\n":
                break  # it writes in small pieces, and on a busy machine it may rest amid a line
        return self.dumped()

    def dumped(self) -> str:
        """The stacks that the child has written since the last call."""
        written = os.pread(self._stacks.fileno(), STACK_LIMIT_BYTES, self._stacks_read)
        self._stacks_read = os.fstat(self._stacks.fileno()).st_size
        return written.decode("utf-8", "replace")

    @property
    def stays(self) -> bool:
        """Whether it can serve on: it was not killed, and is not due to be recycled."""
        return not (self.is_due_to_recycle or self.is_doomed)

    def lend(self) -> None:
        """Keep it for one job: no other one may have it until it is free."""
        self.state = ChildState.BUSY

    def free(self) -> None:
        """Let any job have it: it has started, or its last job has ended."""
        self.state = ChildState.IDLE

    def note_gone(self) -> None:
        """Let no job have it any more: it was killed or has died, and its end is awaited."""
        self.state = ChildState.GONE

    def leave(self, within_s: float) -> None:
        """Ask it to end as a program does; `ended` is true when it has."""
        self.state = ChildState.LEAVING
        self.leave_at_s = time.monotonic() + within_s
        with suppress(OSError):
            self._send(LEAVE)

    def kill(self) -> None:
        """End it at once, with all that its jobs have started and not put into a group of their own."""
        self.is_doomed = True
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def kill_silent(self) -> None:
        """End it, since it has not begun with its job for so long as it may take."""
        self._silent_s = self.take_within_s
        self.kill()

    def _wait_ended(self) -> None:
        """Make sure that a child that has closed its pipe ends."""
        if not self.wait_ended(END_WAIT_S):
            self.kill_and_wait()

    def wait_ended(self, within_s: float) -> bool:
        """Wait for its end; whether it came in time."""
        give_up_at_s = time.monotonic() + within_s
        while not self.ended():
            if time.monotonic() > give_up_at_s:
                return False
            time.sleep(END_POLL_S)
        return True

    def kill_and_wait(self) -> None:
        """End it, and make sure that nothing of the job goes on while the next one of its key begins."""
        self.kill()
        self.has_outlived = not self.wait_ended(KILL_WAIT_S)

    def ended(self) -> bool:
        """Whether it has ended; its exit code is known from then on."""
        if self._process.returncode is None:
            try:
                pid, status, usage = os.wait4(self.pid, os.WNOHANG)
            except ChildProcessError:  # the kernel has its exit code: the application ignores SIGCHLD
                self._process.returncode = 0
            else:
                if pid == 0:
                    return False
                self._process.returncode = os.waitstatus_to_exitcode(status)
                self._peak = usage.ru_maxrss * MAXRSS_UNIT_BYTES
            self.kill()  # what its jobs have started
        return True

    def close(self) -> None:
        """Free what belongs to it here; it has ended, or will soon."""
        if not self.ended():
            self.kill()
        self.note_gone()
        self._pipe.close()
        self._stacks.close()

    @property
    def has_ended(self) -> bool:
        """Whether its end was seen."""
        return self._process.returncode is not None

    @property
    def exit_code(self) -> int:
        """As of `subprocess`: negative for a signal; of a child that has ended."""
        return self._process.returncode or 0

    def death(self, ran_s: float | None) -> ChildDied:
        """The evidence of a child that has ended; `ran_s` is None where it had not begun with its job."""
        code = self.exit_code
        rose = self._peak if self._peak > self._peak_at_start else 0
        return ChildDied(
            pid=self.pid,
            signal=-code if code < 0 else None,
            exit_code=code if code >= 0 else None,
            resident_bytes=max(self.resident, rose),
            ran_s=ran_s,
            stack=self.dumped(),
            silent_s=self._silent_s,
        )


def _interpreter_options() -> list[str]:
    """The options of this interpreter that are not in its environment."""
    options = [f"-W{option}" for option in sys.warnoptions]
    for name, value in sys._xoptions.items():
        options += ["-X", name if value is True else f"{name}={value}"]
    return options + ["-I"] * sys.flags.isolated
