"""Handlers that the tests run in child processes, which find them by their names; each does something drastic."""

from __future__ import annotations

import asyncio
import ctypes
import decimal
import errno
import hashlib
import io
import logging
import multiprocessing
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from opentelemetry import trace

from stoker.consumers import Discard, JobCancelled, Retry, Snooze, current_job

LOGGER = logging.getLogger("isolated")


def note(file: str, text: str) -> None:
    """Append a line in one write."""
    with open(file, "ab", buffering=0) as notes:
        notes.write(f"{text}\n".encode())


def notes(file: Path) -> list[str]:
    """What was noted."""
    return file.read_text().splitlines() if file.exists() else []


def note_run(file: str, what: str) -> None:
    """Say who runs."""
    job = current_job()
    note(file, f"{what} {job.job_id} {job.attempt} {os.getpid()}")


def fail_with_tenant() -> None:
    """Log something, and fail with the name of the tenant."""
    LOGGER.info("a library's line")
    job = current_job()
    job.log.info("the job's own")
    raise ValueError(job.tenant)


def fail_with_files(file: str) -> None:
    """Note which files lead here, and all that are entered from here on; and fail."""
    frame = sys._getframe()
    callers: list[str] = []
    while frame.f_back is not None:
        frame = frame.f_back
        callers.append(frame.f_code.co_filename)
    note(file, "\n".join(reversed(callers)))
    sys.setprofile(lambda frame, event, _value: note(file, frame.f_code.co_filename) if event == "call" else None)
    raise ValueError


def add(file: str, first: int, second: int) -> None:
    """Compute something in the child."""
    note(file, f"{first + second} {os.getpid()}")


async def add_async(file: str, first: int, second: int) -> None:
    """Compute something in the child's event loop."""
    await asyncio.sleep(0)
    note(file, f"{first + second} {os.getpid()}")


def weigh(data: bytes) -> None:
    """Fail at the first attempt."""
    if current_job().attempt == 1:
        raise ValueError(f"{len(data)} bytes")


def tell_context(file: str) -> None:
    """Note what a job knows of itself."""
    job = current_job()
    known = (job.job_id, job.job_type, job.queue, job.attempt, job.attempts, job.key, job.place, job.headers["mine"])
    note(file, repr(known))


def fail(message: str) -> None:
    """Fail as jobs do."""
    raise ValueError(message)


def exit_at_once(code: int) -> None:
    """End the process without a word."""
    os._exit(code)


def exit_politely(code: int) -> None:
    """Ask for the end of the process, which is no more than a failure of the job."""
    sys.exit(code)


def segfault(number: int) -> None:
    """Read what must not be read."""
    ctypes.string_at(number)


class _FullDisk(io.StringIO):
    def flush(self) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")


def print_to_a_full_disk(text: str) -> None:
    """Print what cannot be written any more."""
    sys.stdout = _FullDisk()
    print(text)


def kill_itself(number: int) -> None:
    """End by a signal, as the kernel ends processes for want of memory."""
    os.kill(os.getpid(), number)


def hold_the_interpreter(file: str, seconds: int) -> None:
    """Stay inside of C code that does not give up the interpreter."""
    note(file, str(os.getpid()))
    ctypes.PyDLL(None).sleep(seconds)


def hold_the_interpreter_later(file: str, seconds: int) -> None:
    """Leave a thread behind that does so when the job has long ended well."""

    def hold() -> None:
        time.sleep(0.3)
        hold_the_interpreter(file, seconds)

    threading.Thread(target=hold, daemon=True).start()


def swallow(data: str) -> None:
    """Do nothing with what was given."""
    assert data


def sleep(file: str, seconds: float) -> None:
    """Wait, as a job for a network."""
    note(file, str(os.getpid()))
    time.sleep(seconds)


def clean_up_when_cancelled(file: str, cleaning_s: float) -> None:
    """Wait in a blocking call; note what is seen of a cancel, and whether that comes once."""
    try:
        note(file, "begun")
        time.sleep(60)
    except JobCancelled:
        note(file, f"cancelled {current_job().should_stop}")
        time.sleep(cleaning_s)
        note(file, "cleaned up")
        raise
    finally:
        note(file, "finally")


async def clean_up_when_cancelled_async(file: str, cleaning_s: float) -> None:
    """The same where the job awaits."""
    try:
        note(file, "begun")
        await asyncio.sleep(60)
    except JobCancelled:
        note(file, f"cancelled {current_job().should_stop}")
        await asyncio.sleep(cleaning_s)
        note(file, "cleaned up")
        raise
    finally:
        note(file, "finally")


async def compute_until_cancelled_async(file: str, cleaning_s: float) -> None:
    """The same where the job holds the event loop."""
    try:
        note(file, "begun")
        while True:
            pass
    except JobCancelled:
        note(file, f"cancelled {current_job().should_stop}")
        await asyncio.sleep(cleaning_s)
        note(file, "cleaned up")
        raise
    finally:
        note(file, "finally")


def log_until_cancelled(file: str) -> None:
    """Write to the pipe all the time."""
    try:
        note(file, "begun")
        while True:
            LOGGER.info("x" * 2_000)
    finally:
        note(file, "finally")


def go_on_when_cancelled(file: str) -> None:
    """Swallow the cancel, and wait on."""
    with suppress(JobCancelled):
        note(file, str(os.getpid()))
        time.sleep(60)
    while True:
        with suppress(JobCancelled):
            time.sleep(60)


def grow(size_bytes: int, seconds: float) -> None:
    """Hold memory."""
    held = bytearray(size_bytes)
    held[::4096] = b"x" * len(held[::4096])
    time.sleep(seconds)


LEAKED: list[bytes] = []


def leak(file: str, size_bytes: int) -> None:
    """Hold memory beyond the job."""
    LEAKED.append(b"x" * size_bytes)
    note(file, str(os.getpid()))


def log_something(text: str) -> None:
    """Log in each way."""
    current_job().log.warning("by the job: %s", text, extra={"odd": object(), "nested": {"list": [1, "2"]}})
    LOGGER.info("by a library: %s", text)
    LOGGER.debug("too fine")
    try:
        raise KeyError(text)
    except KeyError:
        LOGGER.exception("with a traceback")
    print(f"printed {text}")


def log_without_end(text: str) -> None:
    """Log and log."""
    while True:
        LOGGER.info(text)


def log_later(file: str, count: int) -> None:
    """Leave a thread behind that logs when the file has two notes, and notes its end."""

    def log() -> None:
        while len(notes(Path(file))) < 2:
            time.sleep(0.01)
        for number in range(count):
            LOGGER.info("line %d", number)
        note(file, "logged")

    note(file, "left behind")
    threading.Thread(target=log, daemon=True).start()


class Odd(Snooze):
    """A snooze that waits for what no other process can find."""

    def __init__(self) -> None:
        """Set a delay of a class of this call's own."""

        class Hidden(timedelta):
            pass

        super().__init__(Hidden(seconds=7))


def answer(how: str) -> object:
    """End in one of the ways that a job may choose, or should not."""
    match how:
        case "return a discard":
            return Discard("sold out")
        case "raise a snooze":
            raise Snooze(timedelta(seconds=7))
        case "return an odd snooze":
            return Odd()
        case "return a retry":
            return Retry("busy")
        case "return a generator":
            return (number for number in range(3))
        case _:
            return ValueError(how)


async def answer_async(how: str) -> object:
    """The same on an event loop, in a group."""
    async with asyncio.TaskGroup() as tasks:
        done = tasks.create_task(asyncio.to_thread(answer, how))
    return done.result()


def start_a_program(file: str) -> None:
    """Start a program that would outlive the job, and hold the child's pipe as well."""
    forked = os.fork()
    if forked == 0:
        LOGGER.warning("from a forked process")
        time.sleep(60)
        os._exit(0)
    program = subprocess.Popen(("sleep", "60"))
    note(file, f"{forked} {program.pid}")
    os._exit(7)


def give_signs(file: str, count: int) -> None:
    """Tell of life and progress, and stop when told to."""
    job = current_job()
    for number in range(count):
        job.progress(number, count, "working")
        job.heartbeat()
        note(file, str(number))
        if job.should_stop:
            note(file, "stopped")
            return
        time.sleep(0.05)


def ignore_signals(file: str) -> None:
    """Run through what a terminal or a supervisor sends."""
    for number in (signal.SIGINT, signal.SIGTERM):
        os.killpg(os.getpgid(0), number)
    program = subprocess.run(
        (sys.executable, "-c", "import signal; print(int(signal.getsignal(signal.SIGTERM)))"),
        capture_output=True,
        text=True,
        check=True,
    )
    note(file, program.stdout.strip())


def terminate_a_copy(file: str) -> None:
    """As `multiprocessing.Pool` does when it is left."""
    copy = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    copy.start()
    copy.terminate()
    copy.join()
    note(file, str(copy.exitcode))


async def terminate_a_copy_async(file: str) -> None:
    """The same on an event loop."""
    terminate_a_copy(file)


def wait_for(file: str, marker: str) -> None:
    """Run until the marker is there."""
    note(file, str(os.getpid()))
    while not Path(marker).exists():
        threading.Event().wait(0.01)


@dataclass
class Unsendable:
    """Refuses to leave its process."""

    text: str

    def __reduce__(self) -> str:
        raise TypeError("cannot be pickled")


def take(what: Unsendable) -> None:
    """Would take it."""


def note_and_exit(file: str, code: int) -> None:
    """End the process, not without a word."""
    note(file, str(os.getpid()))
    os._exit(code)


def hold_and_note(file: str, seconds: int) -> None:
    """Compute for long in C code, and be done."""
    note_run(file, "begun")
    ctypes.PyDLL(None).sleep(seconds)
    note_run(file, "ended")


def book(database: str, place: str) -> None:
    """Write inside of the inbox, and the first time die at a place: before the commit, or after it."""
    with closing(sqlite3.connect(database)) as connection, current_job().inbox(connection):
        connection.execute("INSERT INTO effects VALUES (?)", (current_job().job_id,))
        _die_once(f"{database}.died", place == "written")
    _die_once(f"{database}.died", place == "committed")


def _die_once(marker: str, is_here: bool) -> None:
    if is_here and not os.path.exists(marker):
        note(marker, "died")
        os.kill(os.getpid(), signal.SIGKILL)


def leave_context_behind(file: str) -> None:
    """Note the precision of decimals, and leave another one behind."""
    note(file, str(decimal.getcontext().prec))
    decimal.getcontext().prec = 3


async def leave_context_behind_async(file: str) -> None:
    """The same on an event loop."""
    await asyncio.sleep(0)
    leave_context_behind(file)


def fork_and_return(file: str) -> None:
    """Fork, come back in both processes, and note how the copy has ended."""
    pid = os.fork()
    if pid:
        note(file, f"{os.getpid()} {os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}")


async def fork_and_return_async(file: str) -> None:
    """The same on an event loop."""
    await asyncio.sleep(0)
    fork_and_return(file)


def _leave() -> None:
    raise SystemExit(4)


def _fail_to_make(*_: Any, **__: Any) -> Any:
    raise RuntimeError("no tasks today")


def _cancel_all() -> None:
    for task in asyncio.all_tasks():
        task.cancel()


def _exit_in_a_task(loop: asyncio.AbstractEventLoop) -> None:
    loop._left = asyncio.ensure_future(asyncio.to_thread(_leave))  # type: ignore[attr-defined]  # kept alive


def _fail_to_handle(loop: asyncio.AbstractEventLoop) -> None:
    loop.set_exception_handler(lambda *_: _leave())
    loop.call_soon(int, "no number")


def _refuse_tasks(loop: asyncio.AbstractEventLoop) -> None:
    loop.set_task_factory(_fail_to_make)
    _cancel_all()


def _shut_executor(loop: asyncio.AbstractEventLoop) -> None:
    loop._executor_shutdown_called = True  # type: ignore[attr-defined]  # as `shutdown_default_executor` does first


MISUSES: dict[str, Callable[[asyncio.AbstractEventLoop], object]] = {
    "stop": lambda loop: loop.stop(),
    "stop later": lambda loop: loop.call_soon(loop.stop),
    "close": lambda loop: loop.close(),
    "exit in a callback": lambda loop: loop.call_soon(_leave),
    "exit in a task": _exit_in_a_task,
    "cancel all": lambda _: _cancel_all(),
    "exception handler": _fail_to_handle,
    "task factory": _refuse_tasks,
    "executor": _shut_executor,
}


async def misuse_loop(how: str, pause_s: float) -> None:
    """Do to the event loop what is not a job's to do."""
    MISUSES[how](asyncio.get_running_loop())
    if pause_s:
        await asyncio.sleep(pause_s)


def sum_in_c(seconds: float) -> None:
    """Long calls into C code, between which the interpreter sees to its interrupts."""
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        sum(range(10_000_000))


def hash_in_c(seconds: float) -> None:
    """The same, without the interpreter's lock."""
    end_s, data = time.monotonic() + seconds, bytes(50_000_000)
    while time.monotonic() < end_s:
        hashlib.sha256(data)


def match_in_c(seconds: float) -> None:
    """One call into C code that takes years, and holds the interpreter's lock."""
    re.match(r"(a+)+$", "a" * 100 + f"b{seconds}")


def sleep_in_c(seconds: float) -> None:
    """One call that blocks."""
    time.sleep(seconds)


def pay_when_up(up: str, file: str, number: int) -> None:
    """Call a dependency, which is up as long as a file is there; note each try and each payment."""
    note(file, f"try {number}")
    with current_job().dependency("stripe"):
        if not Path(up).exists():
            raise ConnectionError("refused")
    note(file, f"paid {number} {current_job().attempt}")


def note_span(file: str) -> None:
    """Note the trace and span that this job's own spans would be children of."""
    context = trace.get_current_span().get_span_context()
    note(file, f"{trace.format_trace_id(context.trace_id)} {trace.format_span_id(context.span_id)}")
