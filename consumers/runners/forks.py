"""Ends the copies of a worker's process that jobs fork, before one goes on as a second worker.

A process that a job forks has the runner's thread, with the handler's callers below it on the stack, and the worker's
connections. When the handler returns or raises there, the copy must end at once and silently: it must not flush, close
or commit anything, since all that is the worker's.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from types import FrameType
from typing import Any, NoReturn, ParamSpec, TypeVar
from weakref import WeakSet

P = ParamSpec("P")
T = TypeVar("T")

SignalHandler = Callable[[int, FrameType | None], object] | int | None
"""As `signal.signal` takes and returns it."""


class Process:
    """This process.

    Attributes:
        generation: how many forks lie between the first process and this one. A runner notes it when it is made, and is
            in a copy of its process where it has changed.
    """

    def __init__(self) -> None:
        self.generation = 0
        self._loops: WeakSet[asyncio.AbstractEventLoop] = WeakSet()
        self._own_handlers: dict[int, tuple[SignalHandler, SignalHandler]] = {}
        self._mask = threading.local()

    def leave_in_copies(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have this loop's thread leave it in a copy, where tasks that a job has started may have forked."""
        self._loops.add(loop)

    def handle_signal(self, number: int, handler: Callable[[int, FrameType | None], None]) -> None:
        """Handle a signal in this process alone: in a copy the former handler has it, so that it can end a copy."""
        ours, before_ours = self._own_handlers.get(number, (None, None))
        former = signal.signal(number, handler)
        self._own_handlers[number] = handler, before_ours if former is ours is not None else former

    def prepare_fork(self) -> None:
        """Called before each fork: a signal that comes when the copy has just begun waits for the former handler."""
        self._mask.before = signal.pthread_sigmask(signal.SIG_BLOCK, self._own_handlers)

    def go_on(self) -> None:
        """Called behind each fork in this process."""
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask.before)

    def note_fork(self) -> None:
        """Called by the interpreter in each copy, before anything else runs there."""
        self.generation += 1
        for loop in list(self._loops):
            loop.stop()
        for number, (handler, former) in self._own_handlers.items():
            if signal.getsignal(number) is handler:
                signal.signal(number, signal.SIG_DFL if former is None else former)
        self._own_handlers.clear()
        self.go_on()


PROCESS = Process()
os.register_at_fork(before=PROCESS.prepare_fork, after_in_parent=PROCESS.go_on, after_in_child=PROCESS.note_fork)


def end_copy(error: BaseException | None = None) -> NoReturn:
    """End this copy with the exit code that its end would have given a program, and leave all else to the worker."""
    code, text = _exit_code(error)
    if text:
        with suppress(OSError):  # not by the log, nor by sys.stderr: another thread may have held their locks
            os.write(2, f"process {os.getpid()}, which a job has forked, ends: {text}\n".encode())
    os._exit(code)


def _exit_code(error: BaseException | None) -> tuple[int, str]:
    if error is None:
        return 0, ""
    if type.__subclasscheck__(SystemExit, type(error)):
        given = vars(SystemExit)["code"].__get__(error)
        return (given & 0xFF if type(given) is int else int(given is not None)), ""
    return 1, f"{type(error).__name__} was raised in it"


class CopyEndingExecutor(ThreadPoolExecutor):
    """An event loop's executor (`asyncio.to_thread`): a copy that a call forks ends with that call."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run a call that may fork."""
        return super().submit(_call_ending_copies, PROCESS.generation, fn, *args, **kwargs)


def _call_ending_copies(generation: int, fn: Callable[..., object], *args: object, **kwargs: object) -> Any:
    # `Any`, since `submit` gives the type back and mypy binds no function of two type variables to it.
    try:
        result = fn(*args, **kwargs)
    except BaseException as error:
        if PROCESS.generation != generation:
            end_copy(error)
        raise
    if PROCESS.generation != generation:
        end_copy()
    return result
