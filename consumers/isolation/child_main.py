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
from dataclasses import replace
from importlib import import_module
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any, Final, cast

from ...schemas import Contract
from ...topology import JobType, Queue
from ...topology.declaration.job_type import AnyJobType
from ...topology.own_loggers import keep_loggers_on
from ..job.heartbeats import Heartbeats, JobProgress
from ..job.job_errors import report_of
from ..job.run import Run
from ..machine import own_peak_bytes
from ..records.assignment import Assignment
from ..records.record import Record
from ..runners.async_slots import AsyncSlot, Holder
from ..runners.forks import PROCESS
from ..runners.loop_turns import make_loop, turn_until
from ..runners.slots import Slot
from ..steps.run import run_async, run_sync
from ..steps.steps import DecodedJob, Raised, Result, StepContext, decide
from . import child_flag
from .log_relay import log_over_pipe, log_to_own_stderr
from .messages import (
    BEGUN,
    HEARTBEAT,
    STACK_SIGNAL,
    AskFrames,
    Ended,
    Frames,
    FromChild,
    HandlerAddress,
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


class Child:
    """Runs what it is told."""

    def __init__(self, setup: Setup, talk: Talk, heard: SimpleQueue[object]) -> None:
        addresses: tuple[HandlerAddress, ...] = pickle.loads(setup.addresses)
        queue = Queue(namespace="child", name=setup.queue, tiers=setup.tiers)  # to decide by; its topics are not used
        self._addresses = {address.name: address for address in addresses}
        self._talk = talk
        self._heard = heard
        self._job_types: dict[str, AnyJobType] = {}
        self._step_context = StepContext(queue=queue, job_types=self._job_types, decoder=cast(Any, None), ledgers={})
        self._slot = Slot()
        self._runner = asyncio.Runner(loop_factory=make_loop)
        for address in addresses:
            if address.is_eager:
                self._job_type(address.name)

    def serve(self) -> None:
        """Run jobs until told to leave."""
        while isinstance(message := self._heard.get(), RunJob):
            self._talk.tell(BEGUN)
            self._conclude(message)
        self._runner.close()

    def _conclude(self, message: RunJob) -> None:
        run = run_of(message, self._step_context.queue.name, PipedHeartbeats(self._talk))
        job_type, result = self._run(message, run)
        _flush()
        outcome = decide(DecodedJob(run.record, job_type, (), {}, run), result, self._step_context)
        self._talk.tell(Ended(outcome))

    def _run(self, message: RunJob, run: Run) -> tuple[AnyJobType, Result]:
        try:
            job_type = self._job_type(message.job_type)
            args, kwargs = pickle.loads(message.arguments)
        except Exception as error:  # noqa: BLE001  # edge of the job: the application's modules and classes may raise anything
            return _stand_in(self._addresses[message.job_type], self._step_context.queue, _unknown), Raised(error)
        job = DecodedJob(run.record, job_type, args, kwargs, run)
        return job_type, self._run_async(job) if job_type.is_async else run_sync(job, self._slot)

    def _run_async(self, job: DecodedJob) -> Result:
        slot = AsyncSlot("child", Holder(), lambda _what: None)
        results: list[Result] = []  # not the asyncio task's own, which a job that cancels that would take along

        async def run() -> None:
            results.append(await run_async(job, slot))

        loop = self._runner.get_loop()
        turn_until(loop, asyncio.Task(run(), loop=loop))
        return results[0] if results else Raised(asyncio.CancelledError("something that an earlier job left behind"))

    def _job_type(self, name: str) -> AnyJobType:
        known = self._job_types.get(name)
        if known is None:
            address = self._addresses[name]
            known = _stand_in(address, self._step_context.queue, find_handler(address.module, address.qualname))
            self._job_types[name] = known
        return known


def find_handler(module: str, qualname: str) -> Any:
    """Import a handler by its name; where the name is that of a job type, it is its handler."""
    found: Any = import_module(module)
    for part in qualname.split("."):
        found = getattr(found, part)
    return found.handler if isinstance(found, JobType) else found


def _stand_in(address: HandlerAddress, queue: Queue, handler: Callable[..., object]) -> AnyJobType:
    """The job type as far as running and deciding ask; its payload was read by the worker."""
    return JobType(
        name=address.name,
        queue=replace(queue, tiers=address.retry.tiers or queue.tiers),  # it may have moved here from another queue
        handler=handler,
        contract=cast(Contract, None),
        own_retry=address.retry,
        own_timeout=address.timeout,
    )


def _unknown() -> None:
    """Stands for a handler that could not be imported; never called."""


class CarriedMessage:
    """A Kafka message as the worker read it, for `Record` to be made of once more."""

    def __init__(self, job: RunJob) -> None:
        self._job = job

    def headers(self) -> list[tuple[str, bytes]]:
        """The pairs as they came."""
        return self._job.pairs

    def key(self) -> bytes | None:
        """The ordering key."""
        return self._job.key

    def value(self) -> bytes | None:
        """The payload's bytes."""
        return self._job.value

    def offset(self) -> int:
        """Where it stands."""
        return self._job.offset

    def timestamp(self) -> tuple[int, int]:
        """(type, milliseconds); the type is not used."""
        return 0, self._job.timestamp_ms


def run_of(job: RunJob, queue: str, heartbeats: Heartbeats) -> Run:
    """The run as it is in the child."""
    assignment = Assignment(0, job.topic, job.partition)
    record = Record(cast(Any, CarriedMessage(job)), assignment)
    return Run(job.job_id, job.job_type, queue, job.attempt, job.attempts, record, heartbeats=heartbeats)


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
