"""The application under fire, as `stoker worker` loads it: `-A chaos.fleet.app:pipeline`.

Each job notes its start and its end in the outside ledger, and does what its name says. CHAOS_FOLDER names the folder
of the notes.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Final

from chaos.fleet.effects import WRITE_EFFECT, own_connection
from chaos.notes import CUT, DISCARDED, FAILED, NO_ORIGIN, OK, SNOOZED, NoteFile
from chaos.plan import ATTEMPTS, CRASH_LIMIT, SESSION_TIMEOUT
from chaos.sharing.jobs import declare
from chaos.timetable import CLOCK_QUEUE, DECLARED, EVERY_S, PATIENT, is_tripping
from stoker.consumers import AlreadyDone, Discard, Snooze, current_job
from stoker.topology import Breaker, JobCall, Pipeline, Unique, every
from stoker.topology.declaration.pipeline import QueueShape
from stoker.topology.declaration.retries import RetryPolicy
from stoker.topology.wire.headers import ORIGIN, TIME, parse_instant

FOLDER: Final = Path(os.environ["CHAOS_FOLDER"])

TIERS: Final = (timedelta(milliseconds=500), timedelta(seconds=2))
RETRY: Final = RetryPolicy(attempts=ATTEMPTS)
PARTITIONS: Final = 8
EXIT_CODE: Final = 77
LEAK_LIMIT_BYTES: Final = 160 * 1024 * 1024
LEAK_STEP_BYTES: Final = 16 * 1024 * 1024
HANG_TIMEOUT: Final = timedelta(seconds=1)
SNOOZE: Final = timedelta(milliseconds=700)
QUICK_BREAKER: Final = Breaker(failures=6, open_for=timedelta(milliseconds=500), longest=timedelta(seconds=1))

pipeline = Pipeline("chaos")
shape: QueueShape = {"partitions": PARTITIONS, "tiers": TIERS, "retry": RETRY, "session_timeout": SESSION_TIMEOUT}
steady = pipeline.queue("steady", **shape)
small_shape: QueueShape = {**shape, "partitions": 4}
rough_shape: QueueShape = {**small_shape, "crash_limit": CRASH_LIMIT}
rough = pipeline.queue("rough", **rough_shape)
strict_shape: QueueShape = {**shape, "ordering": "strict"}
strict_queue = pipeline.queue("strict", **strict_shape)
alone = pipeline.queue("unique", **shape)
clock = pipeline.queue(CLOCK_QUEUE, **small_shape)
declare(pipeline, shape)


class Planned(Exception):
    """The failure that the plan wants."""


@cache
def _notes() -> NoteFile:
    """Made by the first job, so that only processes which run jobs have a file."""
    return NoteFile(FOLDER, "runs")


@cache
def _stamps() -> NoteFile:
    """When jobs were enqueued that a filter may have cancelled."""
    return NoteFile(FOLDER, "stamps")


@cache
def _ticks() -> NoteFile:
    """The runs of the jobs of schedules."""
    return NoteFile(FOLDER, "ticks")


@contextmanager
def _noted(number: int) -> Iterator[None]:
    """Note the start of a run and how it ends, unless the process dies in it."""
    job, notes = current_job(), _notes()
    origin = job.headers[ORIGIN].decode() if ORIGIN in job.headers else NO_ORIGIN
    name = f"{number} {job.attempt} {job.place}"
    notes.append(f"S {name} {origin}")
    how = CUT
    try:
        yield
        how = OK
    except Planned:
        how = FAILED
        raise
    except AlreadyDone:
        how = OK
        raise
    except Discard:
        how = DISCARDED
        raise
    except _Snoozing:
        how = SNOOZED
    finally:
        notes.append(f"E {name} {how}")


class _Snoozing(Exception):
    """Says inside of `_noted` that the run does not count."""


def _fail_until(number: int, failures: int) -> None:
    with _noted(number):
        if current_job().attempt <= failures:
            raise Planned(number)


@pipeline.job(steady)
def light(number: int, wait_ms: int) -> None:
    """Next to nothing, or a short wait."""
    with _noted(number):
        if wait_ms:
            time.sleep(wait_ms / 1_000)


@pipeline.job(steady)
async def light_async(number: int, wait_ms: int) -> None:
    """The same on the event loop."""
    with _noted(number):
        if wait_ms:
            await asyncio.sleep(wait_ms / 1_000)


@pipeline.job(steady)
def effect(number: int, wait_ms: int) -> None:
    """A job with an effect in a database, which must happen once."""
    with _noted(number), current_job().inbox(connection := own_connection()):
        connection.execute(WRITE_EFFECT, (number, os.getpid()))
        time.sleep(wait_ms / 1_000)


@pipeline.job(steady, breaker=QUICK_BREAKER)
def flaky(number: int, failures: int) -> None:
    """Fails so often, then succeeds; so the breaker opens all the time, and its jobs wait for one that probes."""
    _fail_until(number, failures)


@pipeline.job(steady)
def doomed(number: int) -> None:
    """Never succeeds."""
    _fail_until(number, ATTEMPTS)


@pipeline.job(steady)
def discarding(number: int) -> None:
    """Finds that it is pointless."""
    with _noted(number):
        raise Discard("as planned")


@pipeline.job(steady)
def snoozing(number: int) -> Snooze | None:
    """Asks once to be run later, which costs no attempt."""
    has_waited = ORIGIN in current_job().headers
    with _noted(number):
        if not has_waited:
            raise _Snoozing
    return None if has_waited else Snooze(SNOOZE)


@pipeline.job(steady)
def long(number: int, wait_ms: int) -> None:
    """Takes seconds."""
    with _noted(number):
        time.sleep(wait_ms / 1_000)


@pipeline.job(steady)
def blocking(number: int, wait_ms: int) -> None:
    """Takes so long that many jobs of its key come to wait behind it."""
    with _noted(number):
        time.sleep(wait_ms / 1_000)


@pipeline.job(steady)
def behind(number: int, wait_ms: int) -> None:
    """As `light`, of the key whose jobs wait."""
    with _noted(number):
        time.sleep(wait_ms / 1_000)


@pipeline.job(steady)
def delayed(number: int, after_ms: int) -> None:
    """As `light`, due so long after it was published."""
    with _noted(number):
        pass


@pipeline.job(steady)
def cancelled(number: int, after_ms: int) -> None:
    """As `delayed`; an operator cancels it, as a rule before it is due."""
    with _noted(number):
        pass


@pipeline.job(steady)
def filtered(number: int, after_ms: int) -> None:
    """As `cancelled`, by its type: which of these are meant follows from the time that it notes."""
    _stamps().append(f"T {number} {parse_instant(current_job().headers[TIME]).timestamp()}")
    with _noted(number):
        pass


@pipeline.job(steady)
def refused(number: int, wait_ms: int) -> None:
    """As `light`, of a type that is blocked for a part of the run, whose jobs are cancelled meanwhile."""
    with _noted(number):
        time.sleep(wait_ms / 1_000)


@pipeline.job(steady)
def tenanted(number: int, wait_ms: int) -> None:
    """As `light`, for a tenant."""
    with _noted(number):
        time.sleep(wait_ms / 1_000)


@pipeline.job(steady)
def beyond(number: int, which: int) -> None:
    """Is due after the end of the run."""
    with _noted(number):
        pass


@pipeline.job(steady)
def rescheduled(number: int, which: int) -> None:
    """As `beyond`, until an operator lets it run."""
    with _noted(number):
        pass


@pipeline.job(alone, unique=Unique(by=lambda: "one"))
def unique(number: int, wait_ms: int) -> None:
    """As `long`, but not while another of its key waits or runs."""
    with _noted(number):
        time.sleep(wait_ms / 1_000)


@pipeline.job(clock, timeout=timedelta(seconds=20))
def tick(schedule: str, wait_ms: int) -> None:
    """A job of a schedule; of one in four instants, it fails at first."""
    job, notes = current_job(), _ticks()
    name = f"{job.job_id} {job.attempt}"
    notes.append(f"S {name} -")
    how = CUT
    try:
        time.sleep(wait_ms / 1_000)
        if is_tripping(job.scheduled_for) and job.attempt == 1:
            how = FAILED
            raise Planned(name)
        how = OK
    finally:
        notes.append(f"E {name} {how}")


def _pair(at: datetime) -> list[JobCall]:
    return [tick.call(DECLARED, 0), tick.call(DECLARED, at.second % 5)]


pipeline.schedule(DECLARED, every(timedelta(seconds=EVERY_S[DECLARED])), _pair, queue=clock, **PATIENT)


@pipeline.job(steady, timeout=HANG_TIMEOUT)
def hanging(number: int) -> None:
    """Ends at its timeout, and never by itself."""
    with _noted(number):
        while True:
            time.sleep(0.05)


@pipeline.job(strict_queue)
def strict(number: int, wait_ms: int) -> None:
    """As `light`, in the queue that keeps order through retries."""
    with _noted(number):
        if wait_ms:
            time.sleep(wait_ms / 1_000)


@pipeline.job(strict_queue)
def strict_blocking(number: int, wait_ms: int) -> None:
    """As `blocking`, in the same queue."""
    with _noted(number):
        time.sleep(wait_ms / 1_000)


@pipeline.job(strict_queue)
def strict_behind(number: int, wait_ms: int) -> None:
    """As `behind`, in the same queue."""
    with _noted(number):
        time.sleep(wait_ms / 1_000)


@pipeline.job(strict_queue)
def strict_flaky(number: int, failures: int) -> None:
    """As `flaky`; the later jobs of its key wait for it."""
    _fail_until(number, failures)


@pipeline.job(strict_queue)
def strict_doomed(number: int) -> None:
    """As `doomed`; the later jobs of its key wait until it is a dead letter."""
    _fail_until(number, ATTEMPTS)


@pipeline.job(rough, isolation="process")
def exiting(number: int) -> None:
    """Ends its process, each time."""
    with _noted(number):
        os._exit(EXIT_CODE)


@pipeline.job(rough)
def killing(number: int) -> None:
    """Ends the worker that runs it, each time, until it is found out and runs in a child."""
    with _noted(number):
        os._exit(EXIT_CODE)


@pipeline.job(rough, isolation="process")
def stumbling(number: int) -> None:
    """Is killed in its first run, for no fault of its own."""
    with _noted(number):
        mark = FOLDER / f"stumbled-{number}"
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGSEGV)


@pipeline.job(rough, isolation="process", timeout=HANG_TIMEOUT)
def stuck(number: int) -> None:
    """Hangs in C code, deaf to everything but a kill."""
    with _noted(number):
        ctypes.CDLL(None).pause()


@pipeline.job(rough, isolation="process", memory_limit_bytes=LEAK_LIMIT_BYTES)
def leaking(number: int) -> None:
    """Takes more and more memory."""
    with _noted(number):
        kept = []
        while True:
            kept.append(b"x" * LEAK_STEP_BYTES)
            time.sleep(0.02)
