"""`Fleet`: several worker processes on one machine, watched over by one that runs no jobs itself.

A process that ends on its own is started again, after a pause that doubles while it keeps ending young, so that a
fleet whose code is broken does not spin. Where a new process would end in the same way, the fleet stops. Signals go to
all; the fleet ends when its last process has. One that does not end in the time that a stop takes at most is killed.
"""

from __future__ import annotations

import logging
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from types import FrameType
from typing import Final

from ..topology.bounded_log import log_within
from . import log_keys
from .ending.stop_bound import PROCESS_AFTER_GRACE_S, PROCESS_AT_ONCE_S, StopBound
from .machine import describe_exit

_LOGGER = logging.getLogger("stoker.fleet")

FIRST_PAUSE_S: Final = 0.5
LONGEST_PAUSE_S: Final = 30.0
YOUNG_S: Final = 10.0
"""A process that ends before this age makes the next pause longer."""
WATCH_INTERVAL_S: Final = 0.1
ENDED_BY_REQUEST: Final = (0, -signal.SIGTERM, -signal.SIGINT)
"""The latter where the signal came before the process had installed its handlers."""
KILLED_WITHIN_S: Final = 5.0
"""How long the processes that are killed have to end; one that the kernel holds even then is left behind."""
PASSED_ON: Final = (signal.SIGUSR1,)
"""Signals that ask the processes for something, and end nothing."""
REFUSED_OPTIONS: Final = 2
IN_VAIN: Final = {REFUSED_OPTIONS: "refused its options", 4: "stopped, since its contracts are refused"}
"""{exit code: what it means} where a new process would end in the same way."""


@dataclass(slots=True)
class _Member:
    """A member of a fleet: its number, and its process at present."""

    number: int
    process: subprocess.Popen[bytes] | None = None
    started_at_s: float = 0.0
    pause_s: float = FIRST_PAUSE_S
    start_again_at_s: float = 0.0


@dataclass(slots=True)
class Fleet:
    """Keeps `size` processes of one command running until `stop` is called.

    Attributes:
        command: what each process runs; it handles SIGTERM as a worker does.
        grace: how long its running jobs may take to end.
        own_options: returns what the process of this number has beyond the command; numbers count from 0.
        on_change: takes {process ids} whenever a process was started or has ended.
    """

    command: Sequence[str]
    size: int
    grace: timedelta
    own_options: Callable[[int], Sequence[str]] = lambda _number: ()
    on_change: Callable[[list[int]], None] = lambda _ids: None
    _members: list[_Member] = field(default_factory=list)
    _stopping: threading.Event = field(default_factory=threading.Event)
    _stopping_at_once: threading.Event = field(default_factory=threading.Event)
    _signals: deque[int] = field(default_factory=deque)
    _exit_code: int = 0
    _has_given_up: bool = False
    _bound: StopBound = field(init=False)

    def __post_init__(self) -> None:
        """Begin to count at the first look behind a stop."""
        self._bound = StopBound(self.grace, PROCESS_AFTER_GRACE_S, PROCESS_AT_ONCE_S)

    def run(self) -> int:
        """Run until SIGTERM or SIGINT and the end of all processes.

        Returns:
            0 when all ended as asked; else the exit code of the first that ended in another way while stopping, or
            whose restart would be in vain.
        """
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT, *PASSED_ON):
                signal.signal(number, self._on_signal)
        self._members = [_Member(number) for number in range(self.size)]
        while not self._has_ended():
            for member in self._members:
                self._look_after(member)
            self._pause()
            self._handle_signals()
            self._end_hanging()
        return self._exit_code

    def stop(self) -> None:
        """Ask all processes to shut down gracefully; the second call asks them to do so at once."""
        if self._stopping.is_set():
            self._stopping_at_once.set()
        self._stopping.set()
        self._signal_all(signal.SIGTERM)

    def process_ids(self) -> list[int]:
        """The processes that run now."""
        return [process.pid for process in self._living()]

    def _living(self) -> list[subprocess.Popen[bytes]]:
        return [m.process for m in self._members if m.process is not None and m.process.poll() is None]

    def _has_ended(self) -> bool:
        return self._has_given_up or (
            self._stopping.is_set() and all(member.process is None for member in self._members)
        )

    def _look_after(self, member: _Member) -> None:
        if member.process is None:
            if not self._stopping.is_set() and time.monotonic() >= member.start_again_at_s:
                self._start(member)
        elif (code := member.process.poll()) is not None:
            self._note_end(member, member.process.pid, code)

    def _start(self, member: _Member) -> None:
        try:
            member.process = self._open(member)
        except OSError as refusal:  # it may have memory for one again when another process has ended
            self._rest(member, 0.0)
            _LOGGER.error(
                "a worker process could not be started (%s); the others go on, and it is tried again in %.1f s",
                refusal, member.pause_s,
            )  # fmt: skip
            return
        member.started_at_s = time.monotonic()
        if self._stopping.is_set():  # a signal came while it was being started, and could not be passed on
            member.process.send_signal(signal.SIGTERM)
        _LOGGER.info("worker process %d started", member.process.pid, extra={log_keys.COUNT: self.size})
        self.on_change(self.process_ids())

    def _open(self, member: _Member) -> subprocess.Popen[bytes]:
        # Blocked until the process handles them, since they would end it before; the mask is inherited.
        former = signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)
        try:
            command = [*self.command, *self.own_options(member.number)]
            return subprocess.Popen(command, process_group=0)  # Ctrl-C reaches it once, from here
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, former)

    def _rest(self, member: _Member, lived_s: float) -> None:
        """Let a member pause before it is started again, for longer where it has not lived for long."""
        member.pause_s = min(LONGEST_PAUSE_S, member.pause_s * 2) if lived_s < YOUNG_S else FIRST_PAUSE_S
        member.start_again_at_s = time.monotonic() + member.pause_s

    def _note_end(self, member: _Member, process_id: int, code: int) -> None:
        member.process = None
        self.on_change(self.process_ids())
        if self._stopping.is_set():
            if code not in ENDED_BY_REQUEST:
                self._exit_code = self._exit_code or code
            return
        if _is_in_vain(code, time.monotonic() - member.started_at_s):
            _LOGGER.error(
                "worker process %d %s (exit code %d), and so would another one; the fleet stops. The process has "
                "printed what to change", process_id, IN_VAIN[code], code,
            )  # fmt: skip
            self._exit_code = code
            self.stop()
            return
        lived_s = time.monotonic() - member.started_at_s
        self._rest(member, lived_s)
        _LOGGER.error(
            "worker process %d ended on its own (%s) after %.1f s; another one starts in %.1f s",
            process_id, describe_exit(code), lived_s, member.pause_s,
        )  # fmt: skip

    def _pause(self) -> None:
        """Rest a moment, or until a process ends while the fleet stops."""
        last = next((m.process for m in self._members if m.process is not None), None)
        if last is None or not self._stopping.is_set():
            time.sleep(WATCH_INTERVAL_S)
            return
        with suppress(subprocess.TimeoutExpired):
            last.wait(WATCH_INTERVAL_S)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        """Only note it: a handler runs amid any line of the main thread, where locks may be held."""
        self._signals.append(number)

    def _handle_signals(self) -> None:
        """Pass on the signals that have come since the last look."""
        while self._signals:
            number = self._signals.popleft()
            if number in PASSED_ON:
                self._signal_all(number)
            else:  # a SIGINT would have the workers excuse failures, but the terminal has not reached their programs
                self.stop()

    def _end_hanging(self) -> None:
        """Kill what has not ended in the time for a stop: nothing is lost by that, and nothing else would end it."""
        is_at_once = self._stopping_at_once.is_set()
        if self._stopping.is_set() and self._bound.is_over(time.monotonic(), is_at_once=is_at_once):
            killed = self._living()
            for process in killed:
                process.kill()
            for process in killed:  # now that none needs this process, whose log may hang
                log_within(partial(
                    _LOGGER.error,
                    "worker process %d was asked to stop%s, and has not ended in the time that this takes at most: it "
                    "hangs, and is killed. Kafka delivers its unfinished jobs again",
                    process.pid, " at once" if is_at_once else "",
                ))  # fmt: skip
            self._await_killed(killed)

    def _await_killed(self, killed: Sequence[subprocess.Popen[bytes]]) -> None:
        """Wait for their ends, and give up those that the kernel does not end."""
        ends_at_s = time.monotonic() + KILLED_WITHIN_S
        for process in killed:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, ends_at_s - time.monotonic()))
        if held := self.process_ids():
            self._exit_code = self._exit_code or 1
            self._has_given_up = True
            log_within(partial(
                _LOGGER.error,
                "worker processes %s were killed and have not ended: the kernel holds them, most likely in input or "
                "output on a disk or network that does not answer. The fleet ends without them", held,
            ))  # fmt: skip

    def _signal_all(self, number: int) -> None:
        for process in self._living():
            process.send_signal(number)


def _is_in_vain(code: int, lived_s: float) -> bool:
    """Whether another process would end in the same way: options are refused at once, or a job has ended its process.

    C and Fortran libraries end theirs with code 2 at many an error.
    """
    return code in IN_VAIN and (code != REFUSED_OPTIONS or lived_s < YOUNG_S)
