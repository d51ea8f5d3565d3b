"""A child process: runs one job after another, and sends back what became of each. Nothing here runs in the worker.

The main thread runs the jobs. A second one listens to the worker, so that the end of the worker is noticed whatever
the job does; where that thread cannot get the interpreter, since a job is inside of C code, the kernel's parent-death
signal ends the child on Linux.
"""

from __future__ import annotations

import asyncio
import ctypes
import faulthandler
import logging
import math
import multiprocessing.spawn
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from contextvars import Context
from dataclasses import dataclass
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Final

from ...topology import RetryPolicy
from ...topology.declaration.job_type import RunLimits
from ...topology.own_loggers import keep_loggers_on
from ..job.answers import Answer, answer_of
from ..job.heartbeats import JobProgress
from ..job.job_errors import is_kind_of, report_of
from ..job.run import CurrentRun
from ..job.signals import JobInterrupted
from ..machine import own_peak_bytes
from ..runners.async_slots import AsyncSlot, Holder, resume_watched
from ..runners.forks import PROCESS
from ..runners.loop_turns import make_loop, turn_until
from ..steps.call import call_async, call_sync, end_copy_after, read_interrupt
from ..steps.results import Raised, Result, Returned, answer_to
from . import child_flag
from .handlers import HandlerAddress, find_handler
from .log_relay import log_over_pipe, log_to_own_stderr
from .messages import (
    BEGUN,
    HEARTBEAT,
    STACK_SIGNAL,
    AskFrames,
    CarriedRecord,
    Ended,
    Frames,
    FromChild,
    LogLine,
    Progressed,
    Ready,
    RunJob,
    Setup,
    ShouldStop,
    Unready,
    pack,
    receive,
    write,
)

PR_SET_PDEATHSIG: Final = 1
HEARTBEAT_INTERVAL_S: Final = 0.02


class Talk:
    """The child's side of the pipe; any thread may speak.

    Attributes:
        should_stop: whether the worker wants the job that runs to end by itself.
    """

    def __init__(self, pipe: Connection) -> None:
        self.should_stop = False
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

    def listen(self, heard: SimpleQueue[object]) -> None:
        """Pass on what the worker says, in a thread of its own; end everything when the worker is gone."""
        try:
            while True:
                message = receive(self._pipe)
                if isinstance(message, AskFrames):
                    self.tell(Frames(main_frames()))
                    continue
                self.should_stop = isinstance(message, ShouldStop)
                if not self.should_stop:
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


@dataclass(slots=True, kw_only=True)
class ChildRun(CurrentRun):
    """A run as its handler sees it in a child."""

    heartbeats: PipedHeartbeats

    def take_heartbeats(self) -> PipedHeartbeats:
        """What passes them on."""
        return self.heartbeats


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildJobType:
    """A job type as far as a call asks, with its handler."""

    name: str
    handler: Callable[..., object]
    retry: RetryPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildJob:
    """A job that this process can call."""

    job_type: ChildJobType
    args: tuple[object, ...]
    kwargs: dict[str, object]
    record: CarriedRecord
    run: ChildRun


class Child:
    """Runs the jobs that the worker sends, and sends back what each answers; the worker decides what that leads to."""

    def __init__(self, setup: Setup, talk: Talk, heard: SimpleQueue[object]) -> None:
        addresses: tuple[HandlerAddress, ...] = pickle.loads(setup.addresses)
        self._queue = setup.queue
        self._addresses = {address.name: address for address in addresses}
        self._talk = talk
        self._heard = heard
        self._handlers: dict[str, Callable[..., object]] = {}
        self._runner = asyncio.Runner(loop_factory=make_loop)
        for address in addresses:
            if address.is_eager:
                self._handler(address)

    def serve(self) -> None:
        """Run jobs until told to leave."""
        while isinstance(message := self._heard.get(), RunJob):
            self._talk.tell(BEGUN)
            answer = self._answer(message)
            _flush()
            self._talk.tell(Ended(answer))
        self._runner.close()

    def _answer(self, message: RunJob) -> Answer | None:
        """Run one job; None where its handler returned."""
        address = self._addresses[message.job_type]
        try:
            job = self._job(message, address)
        except Exception as error:  # noqa: BLE001  # edge of the job: the application's modules and classes may raise anything
            return answer_of(error, address.name, address.retry)
        result = self._call_async(job) if address.is_async else _call_sync(job)
        return None if isinstance(result, Returned) else answer_to(result, address)

    def _job(self, message: RunJob, address: HandlerAddress) -> ChildJob:
        """Find the handler and read the arguments.

        Raises:
            Exception: whatever the application's modules and classes raise.
        """
        handler = self._handler(address)
        args, kwargs = pickle.loads(message.arguments)
        return ChildJob(
            job_type=ChildJobType(name=address.name, handler=handler, retry=address.retry),
            args=args,
            kwargs=kwargs,
            record=message.record,
            run=self._run(message, address.timeout.total_seconds()),
        )

    def _run(self, message: RunJob, timeout_s: float) -> ChildRun:
        """The run that begins now."""
        return ChildRun(
            job_id=message.job_id,
            job_type=message.job_type,
            queue=self._queue,
            attempt=message.attempt,
            attempts=message.attempts,
            record=message.record,
            deadline_s=time.monotonic() + timeout_s,
            limits=RunLimits(timeout_s, math.inf, timeout_s),
            heartbeats=PipedHeartbeats(self._talk),
        )

    def _handler(self, address: HandlerAddress) -> Callable[..., object]:
        known = self._handlers.get(address.name)
        if known is None:
            known = self._handlers[address.name] = find_handler(address.module, address.qualname)
        return known

    def _call_async(self, job: ChildJob) -> Result:
        slot = AsyncSlot("child", Holder(), lambda _what: None)
        results: list[Result] = []  # not the asyncio job's own, which a job that cancels that would take along

        async def call() -> None:
            results.append(await _called(job, slot))

        loop = self._runner.get_loop()
        turn_until(loop, asyncio.Task(call(), loop=loop))
        return results[0] if results else Raised(asyncio.CancelledError("something that an earlier job left behind"))


def _call_sync(job: ChildJob) -> Result:
    generation = PROCESS.generation
    result = Context().run(call_sync, job)
    if generation != PROCESS.generation:
        end_copy_after(result)
    return result


async def _called(job: ChildJob, slot: AsyncSlot) -> Result:
    try:
        result = await resume_watched(slot, call_async(job, slot.holder))
    except BaseException as error:  # noqa: BLE001  # on the job's way out
        result = Raised(error)
    if isinstance(result, Raised) and is_kind_of(result.error, JobInterrupted):
        return read_interrupt(result.error, job)
    return result


def _flush() -> None:
    """Let what the job has printed appear, also if the next one has this process killed.

    Where it goes may be full, broken, closed, or of the application's own making: the job has ended all the same.
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()


def _end_with(parent_id: int) -> None:
    """Die at once when the worker does."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_id:  # it died before that took effect
        os._exit(1)


def _leave_signals_to_the_worker() -> None:
    """Do nothing at a terminal's Ctrl+C or a supervisor's SIGTERM: the worker decides when a job ends.

    Not `SIG_IGN`, which the programs that a job starts would inherit, so that nobody could terminate them.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        PROCESS.handle_signal(number, lambda _number, _frame: None)


def _dump_stacks_to(file: int) -> None:
    faulthandler.enable(file, all_threads=False)
    faulthandler.register(STACK_SIGNAL, file, all_threads=True, chain=False)


def _prepare(main: Mapping[str, object]) -> None:
    """Make this process like the worker's: its arguments and folder, and its main module where handlers are in it."""
    multiprocessing.spawn.prepare(dict(main))


def main(pipe: Connection) -> None:
    """Be a child until told to leave; called by the line that the worker starts Python with."""
    child_flag.is_child = True
    setup = receive(pipe)
    _end_with(setup.parent_id)
    _leave_signals_to_the_worker()
    _dump_stacks_to(setup.stack_file)
    talk, heard = Talk(pipe), SimpleQueue[object]()
    log_over_pipe(setup.log_levels, talk.tell_log)
    keep_loggers_on()
    threading.Thread(target=talk.listen, args=(heard,), name="stoker-listen", daemon=True).start()
    try:
        _prepare(setup.main)
        child = Child(setup, talk, heard)
    except BaseException as error:  # noqa: BLE001  # the application's modules may raise anything; the worker tells it
        talk.tell(Unready(report_of(error)))
        sys.exit(1)
    talk.tell(Ready(own_peak_bytes()))
    child.serve()
    logging.shutdown()
