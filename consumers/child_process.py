"""`ChildProcess`: one child as the worker sees it: started, given a job, watched while it runs, killed, accounted for.

Started as a new Python process and never by a plain fork: threads of the Kafka client are about, whose locks a fork
would copy in whatever state they are.
"""

from __future__ import annotations

import logging
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from enum import Enum
from multiprocessing.connection import Pipe
from typing import Any, Final

from .child_logging import handle_carried, log_levels
from .child_messages import (
    LEAVE,
    SHOULD_STOP,
    STACK_SIGNAL,
    Begun,
    Ended,
    Heartbeat,
    LogLine,
    Progressed,
    Ready,
    RunJob,
    Setup,
    Unready,
    receive,
    send,
)
from .context import JobContext
from .crashes import ChildDied
from .outcomes import Outcome
from .resident import MAXRSS_UNIT_BYTES, resident_bytes
from .run import time_limit_exceeded
from .signals import MemoryLimitExceeded, TimeLimitExceeded

_LOGGER = logging.getLogger("stoker.isolation")

LIMITED_TICK_S: Final = 0.05
"""How often the memory of a job with a limit is looked at: what it may grow by in that time is not seen."""
TICK_S: Final = 0.2
STACK_WAIT_S: Final = 1.0
SHORT_STACK_WAIT_S: Final = 0.1
"""Of a job that takes more and more memory meanwhile."""
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
    "sys.path[:] = pickle.loads(pipe.recv_bytes()); from stoker.consumers.child_main import main; main(pipe)"
)


class State(Enum):
    """Where a child is in its life."""

    STARTING = "starting"
    IDLE = "idle"
    BUSY = "busy"
    LEAVING = "leaving"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Stopped:
    """The worker stops: the job was cut short, or never began."""


@dataclass(frozen=True, slots=True)
class NotBegun:
    """The child died before the job had begun: another one shall run it, and nothing is held against the job."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Killed:
    """The job passed one of its own limits, and the child was killed; its note says where the job was."""

    error: TimeLimitExceeded | MemoryLimitExceeded


Ending = Outcome | Stopped | NotBegun | Killed | ChildDied
STOPPED = Stopped()
NOT_BEGUN = NotBegun()


class ChildProcess:
    """One child. All but `kill`, `stack` and the attributes belongs to one thread at a time.

    Attributes:
        jobs: how many it has been given.
        resident: its memory in bytes, as last seen.
        is_worn: whether it shall go as soon as another one can take its place.
        is_doomed: whether it was killed; it may take a moment to end.
    """

    def __init__(self, setup: Setup) -> None:
        self._pipe, theirs = Pipe()
        self._stacks = tempfile.TemporaryFile()  # noqa: SIM115  # closed with the child
        self._stacks_read = 0
        told = replace(setup, stack_file=self._stacks.fileno(), log_levels=log_levels())
        command = [sys.executable, *_interpreter_options(), "-c", BOOTSTRAP.format(pipe=theirs.fileno())]
        with theirs:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), self._stacks.fileno()),
                process_group=0,  # the terminal's Ctrl+C is not for it, and what its jobs start ends with it
            )
        self.pid = self._process.pid
        self.state = State.STARTING
        self.started_s = time.monotonic()
        self.leave_by_s = 0.0
        self.jobs = 0
        self.resident = 0
        self.is_worn = False
        self.is_doomed = False
        self._peak_at_start = 0
        self._peak = 0
        with suppress(OSError):  # it has ended already, which its exit code tells
            self._pipe.send_bytes(pickle.dumps(sys.path))
            send(self._pipe, told)

    def look(self) -> Ready | Unready | None:
        """Read what a child says that has no job; handles its log records."""
        while True:
            message = self._next_message(0)
            if isinstance(message, Ready):
                self._peak_at_start = message.peak_bytes
                self.sample()
            if message is None or isinstance(message, Ready | Unready):
                return message

    def _next_message(self, wait_s: float) -> Any:
        """The next message but log lines, which are handled; None if there is none, or the child has ended."""
        try:
            for _ in range(LINES_AT_ONCE):
                if not self._pipe.poll(wait_s):
                    break
                message = receive(self._pipe)
                if not isinstance(message, LogLine):
                    return message
                handle_carried(message.attributes)
                wait_s = 0
        except (EOFError, OSError):
            self._wait_ended()
        return None

    def run(
        self, job: RunJob, context: JobContext, memory_limit_bytes: int | None, is_stopping: Callable[[], bool]
    ) -> Ending:
        """Run one job, and watch over it until it has ended in one way or another.

        Args:
            context: the run's, which has begun; its deadline is kept, and its signs of life are repeated on it.
        """
        self.jobs += 1
        try:
            send(self._pipe, job)
        except OSError:
            return NOT_BEGUN
        return _Watch(self, context, memory_limit_bytes, is_stopping).until_ended()

    def tell_to_stop(self) -> None:
        """Ask the job that runs to come to an end by itself."""
        with suppress(OSError):  # the child has died, which is noticed elsewhere
            send(self._pipe, SHOULD_STOP)

    def sample(self) -> int:
        """Look at its memory; as last seen if it is gone."""
        self.resident = resident_bytes(self.pid) or self.resident
        return self.resident

    def stack(self, within_s: float = STACK_WAIT_S) -> str:
        """Where its threads are at this moment; empty if it does not say so in time."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, STACK_SIGNAL)
        give_up_s = time.monotonic() + within_s
        size = 0
        while time.monotonic() < give_up_s:
            time.sleep(STACK_POLL_S)
            before, size = size, os.fstat(self._stacks.fileno()).st_size
            if size == before > self._stacks_read:
                break
        return self.dumped()

    def dumped(self) -> str:
        """What it has written about its stacks since this was last asked."""
        written = os.pread(self._stacks.fileno(), STACK_LIMIT_BYTES, self._stacks_read)
        self._stacks_read = os.fstat(self._stacks.fileno()).st_size
        return written.decode("utf-8", "replace")

    def leave(self, within_s: float) -> None:
        """Ask it to end as a program does; `ended` says when it has."""
        self.state = State.LEAVING
        self.leave_by_s = time.monotonic() + within_s
        with suppress(OSError):
            send(self._pipe, LEAVE)

    def kill(self) -> None:
        """End it at once, with all that its jobs have started and not put into a group of their own."""
        self.is_doomed = True
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def _wait_ended(self) -> None:
        """Make sure that a child that has closed its pipe ends."""
        if not self.wait_ended(END_WAIT_S):
            self.kill_and_wait()

    def wait_ended(self, within_s: float) -> bool:
        """Wait for its end; whether it came in time."""
        give_up_s = time.monotonic() + within_s
        while not self.ended():
            if time.monotonic() > give_up_s:
                return False
            time.sleep(END_POLL_S)
        return True

    def kill_and_wait(self) -> None:
        """End it, and make sure that nothing of the job goes on while the next one of its key begins."""
        self.kill()
        self.wait_ended(KILL_WAIT_S)

    def ended(self) -> bool:
        """Whether it has ended; its exit code is known from then on."""
        if self._process.returncode is None:
            try:
                pid, status, usage = os.wait4(self.pid, os.WNOHANG)
            except ChildProcessError:  # somebody else has taken its exit code: the application ignores SIGCHLD
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
        self.state = State.GONE
        self._pipe.close()
        self._stacks.close()

    @property
    def exit_code(self) -> int:
        """As of `subprocess`: negative for a signal; of a child that has ended."""
        return self._process.returncode or 0

    def death(self, ran_s: float) -> ChildDied:
        """The evidence of a child that has ended, by itself or by somebody else's hand."""
        code = self.exit_code
        rose = self._peak if self._peak > self._peak_at_start else 0
        return ChildDied(
            pid=self.pid,
            signal=-code if code < 0 else None,
            exit_code=code if code >= 0 else None,
            resident_bytes=max(self.resident, rose),
            ran_s=ran_s,
            stack=self.dumped(),
        )


@dataclass(slots=True)
class _Watch:
    """One run of one job in a child."""

    child: ChildProcess
    context: JobContext
    memory_limit_bytes: int | None
    is_stopping: Callable[[], bool]
    began_s: float = field(default_factory=time.monotonic)
    has_begun: bool = False
    was_told: bool = False

    def until_ended(self) -> Ending:
        tick_s = TICK_S if self.memory_limit_bytes is None else LIMITED_TICK_S
        next_look_s = self.began_s + tick_s
        while True:
            left_s = self.context.deadline_s - time.monotonic()
            ending = self._read(max(0.0, min(tick_s, left_s)))
            now_s = time.monotonic()
            if ending is None and now_s >= self.context.deadline_s:
                ending = self._kill(time_limit_exceeded(self.context), STACK_WAIT_S)
            if ending is None and now_s >= next_look_s:
                next_look_s = now_s + tick_s
                ending = self._look()
            if ending is not None:
                return ending

    def _read(self, wait_s: float) -> Ending | None:
        message = self.child._next_message(wait_s)
        match message:
            case Ended(outcome=outcome):
                return outcome
            case Begun():
                self.has_begun = True
            case Heartbeat():
                self.context.heartbeat()
            case Progressed(latest=latest):
                self.context.progress(latest.done, latest.total, latest.note)
        if message is None and self.child._process.returncode is not None:
            return self._died()
        return None

    def _look(self) -> Ending | None:
        """What is looked at now and then."""
        if self.is_stopping():
            self.child.kill_and_wait()
            return STOPPED
        if self.child.ended():  # its pipe is still open, since a process that the job has forked holds it too
            return self._read(0) or self._died()
        if self.context.should_stop and not self.was_told:
            self.was_told = True
            self.child.tell_to_stop()
        limit_bytes, held_bytes = self.memory_limit_bytes, self.child.sample()
        if limit_bytes is not None and held_bytes > limit_bytes:
            return self._kill(MemoryLimitExceeded(held_bytes, limit_bytes), SHORT_STACK_WAIT_S)
        return None

    def _kill(self, error: TimeLimitExceeded | MemoryLimitExceeded, stack_wait_s: float) -> Killed:
        stack = self.child.stack(stack_wait_s)
        self.child.kill_and_wait()
        error.add_note(f"its process {self.child.pid} was killed here:\n{stack}")
        return Killed(error=error)

    def _died(self) -> Ending:
        if self.is_stopping():
            return STOPPED
        return self.child.death(time.monotonic() - self.began_s) if self.has_begun else NOT_BEGUN


def _interpreter_options() -> list[str]:
    """The options of this interpreter that are not in its environment."""
    options = [f"-W{option}" for option in sys.warnoptions]
    for name, value in sys._xoptions.items():
        options += ["-X", name if value is True else f"{name}={value}"]
    return options + ["-I"] * sys.flags.isolated
