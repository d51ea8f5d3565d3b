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
from collections.abc import Callable, Mapping
from contextlib import suppress
from contextvars import Context
from dataclasses import dataclass
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Final

from opentelemetry import context as trace_context
from opentelemetry.trace import NonRecordingSpan

from ...topology import RetryPolicy
from ...topology.declaration.job_type import RunLimits
from ...topology.own_loggers import keep_loggers_on
from ...topology.tracing.remote_context import context_of, read_span_context, with_baggage
from ..job.answers import Answer, answer_of
from ..job.endings import JobInterrupted
from ..job.job_errors import is_kind_of, report_of
from ..job.run import CurrentRun
from ..machine import own_peak_bytes
from ..runners.async_slots import AsyncSlot, LoopState, resume_watched
from ..runners.forks import PROCESS
from ..runners.loop_turns import make_loop, turn_until
from ..steps.call import call_async, call_sync, end_copy_after, read_interrupt
from ..steps.results import RETURNED_NOTHING, Raised, Result, Returned, answer_to
from . import child_flag
from .child_cancel import JobCanceller, WatchedTask
from .child_pipe import ChildPipe, PipedDependencies, PipedHeartbeats
from .handlers import HandlerAddress, find_handler
from .log_relay import log_over_pipe
from .messages import (
    BEGUN,
    STACK_SIGNAL,
    ChildRecord,
    Ended,
    RunJob,
    Setup,
    Started,
    StartFailed,
    receive,
)

PR_SET_PDEATHSIG: Final = 1
STDERR: Final = 2


@dataclass(slots=True, kw_only=True)
class ChildRun(CurrentRun):
    """A run as its handler sees it in a child."""

    heartbeats: PipedHeartbeats

    def take_heartbeats(self) -> PipedHeartbeats:
        """The object that sends the job's heartbeats to the worker."""
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
    record: ChildRecord
    run: ChildRun


class _ChildSlot(AsyncSlot):
    """The slot of an async job; the main thread is inside of the job between two suspensions."""

    __slots__ = ("_canceller",)

    def __init__(self, canceller: JobCanceller) -> None:
        super().__init__("child", LoopState(), lambda _what: None)
        self._canceller = canceller

    @property
    def is_run_cancelled(self) -> bool:
        """Whether the worker has cancelled it."""
        return self._canceller.is_cancelled


class Child:
    """Runs the jobs that the worker sends, and sends back what each answers; the worker decides what that leads to."""

    def __init__(
        self, setup: Setup, to_worker: ChildPipe, received: SimpleQueue[object], canceller: JobCanceller
    ) -> None:
        addresses: tuple[HandlerAddress, ...] = pickle.loads(setup.addresses)
        self._queue = setup.queue
        self._addresses = {address.name: address for address in addresses}
        self._pipe = to_worker
        self._received = received
        self._canceller = canceller
        self._handlers: dict[str, Callable[..., object]] = {}
        self._runner = asyncio.Runner(loop_factory=make_loop)
        for address in addresses:
            if address.is_eager:
                self._handler(address)
            elif address.is_counted:
                with suppress(Exception):  # the job's own run has it again
                    self._handler(address)

    def serve(self) -> None:
        """Run jobs until the worker asks this child to end."""
        while isinstance(message := self._received.get(), RunJob):
            self._canceller.begin(str(message.record))
            self._pipe.send(BEGUN)
            answer = self._answer(message)
            self._canceller.end()
            _flush()
            self._pipe.send(Ended(answer))
        self._runner.close()

    def _answer(self, message: RunJob) -> Answer | None:
        """Run one job; None where its handler returned."""
        address = self._addresses[message.job_type]
        try:
            job = self._job(message, address)
        except Exception as error:  # noqa: BLE001  # edge of the job: the application's modules and classes may raise anything
            return answer_of(error, address.name, address.retry)
        result = self._call_async(job) if address.is_async else _call_sync(job, self._canceller)
        return None if isinstance(result, Returned) else answer_to(result, address)

    def _job(self, message: RunJob, address: HandlerAddress) -> ChildJob:
        """Find the handler and read the arguments.

        Raises:
            Exception: whatever the application's modules and classes raise.
        """
        handler = self._handler(address)
        args, kwargs = pickle.loads(message.arguments)
        run = self._run(message, address.timeout.total_seconds())
        run.use_dependencies(PipedDependencies(self._pipe, address.retry))
        return ChildJob(
            job_type=ChildJobType(name=address.name, handler=handler, retry=address.retry),
            args=args,
            kwargs=kwargs,
            record=message.record,
            run=run,
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
            deadline_at_s=time.monotonic() + timeout_s,
            limits=RunLimits(timeout_s, math.inf, timeout_s),
            heartbeats=PipedHeartbeats(self._pipe),
            trace_context=_trace_context(message),
        )

    def _handler(self, address: HandlerAddress) -> Callable[..., object]:
        known = self._handlers.get(address.name)
        if known is None:
            known = self._handlers[address.name] = find_handler(address.module, address.qualname)
        return known

    def _call_async(self, job: ChildJob) -> Result:
        slot = _ChildSlot(self._canceller)
        results: list[Result] = []  # not the asyncio job's own, which a job that cancels that would take along

        async def call() -> None:
            results.append(await _called(job, slot))

        loop = self._runner.get_loop()
        task = asyncio.Task(call(), loop=loop)
        self._canceller.watch(WatchedTask(task=task, loop=loop, holds_loop=lambda: slot.loop_state.inside is slot))
        turn_until(loop, task)
        return results[0] if results else Raised(asyncio.CancelledError("something that an earlier job left behind"))


def _trace_context(message: RunJob) -> trace_context.Context | None:
    """The context of the run's span, which the worker records; None where it does not."""
    if not message.trace:
        return None
    span = NonRecordingSpan(read_span_context(dict(message.trace)))
    return with_baggage(context_of(span), message.record.headers)


def _call_sync(job: ChildJob, canceller: JobCanceller) -> Result:
    generation = PROCESS.generation
    result: Result | None = None
    try:
        canceller.enter()
        try:
            result = Context().run(call_sync, job)
        finally:
            if generation != PROCESS.generation:
                end_copy_after(result or RETURNED_NOTHING)
            canceller.leave()
    except JobInterrupted as interrupt:  # before the handler's begin, or between its end and here
        canceller.leave()
        result = result or read_interrupt(interrupt, job)
    return result


async def _called(job: ChildJob, slot: AsyncSlot) -> Result:
    try:
        result = await resume_watched(slot, call_async(job, slot.loop_state))
    except BaseException as error:  # noqa: BLE001  # on the job's way out
        result = Raised(error)
    if isinstance(result, Raised) and result.answer is None and is_kind_of(result.error, JobInterrupted):
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

    Not `SIG_IGN`, which the programs that a job starts would inherit, and SIGTERM would not end them.
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
    """Run as a child until the worker asks it to end; called by the line that the worker starts Python with."""
    child_flag.is_child = True
    setup = receive(pipe)
    _end_with(setup.parent_id)
    _leave_signals_to_the_worker()
    _dump_stacks_to(setup.stack_file)
    to_worker, received = ChildPipe(pipe), SimpleQueue[object]()
    log_over_pipe(setup.log_levels, to_worker.send_log)
    keep_loggers_on()
    canceller = JobCanceller(to_worker)
    canceller.install()
    heard = (received, canceller.cancel, (setup.stack_file, STDERR))
    threading.Thread(target=to_worker.listen, args=heard, name="stoker-listen", daemon=True).start()
    try:
        _prepare(setup.main)
        child = Child(setup, to_worker, received, canceller)
    except BaseException as error:  # noqa: BLE001  # the application's modules may raise anything; the worker logs it
        to_worker.send(StartFailed(report_of(error)))
        sys.exit(1)
    to_worker.send(Started(own_peak_bytes()))
    child.serve()
    logging.shutdown()
