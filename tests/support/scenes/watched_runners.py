"""Runners of both kinds under a watchdog, without a broker: for the tests of timeouts and stuck jobs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest

from stoker.consumers.job.endings import TimeLimitExceeded
from stoker.consumers.records.outcomes import Outcome
from stoker.consumers.records.record import Record
from stoker.consumers.runners import async_runners, loop_watch, watchdog
from stoker.consumers.runners.async_runners import AsyncRunners
from stoker.consumers.runners.async_slots import AsyncSlot
from stoker.consumers.runners.slots import Slot
from stoker.consumers.runners.thread_runners import ThreadRunners
from stoker.consumers.runners.watchdog import Watchdog
from stoker.consumers.steps.results import Raised, Ran, Result, Returned
from stoker.consumers.steps.run_step import run_async, run_sync
from stoker.consumers.steps.steps import DecodedJob, decide
from support.scenes.deliveries import STEP_CONTEXT, declare, plain_record
from support.waiting import wait_until


@dataclass(kw_only=True)
class Order:
    """A job to run: its handler, called with its number, and its limits."""

    handler: Callable[[int], Any]
    timeout_s: float = 60.0
    heartbeat_s: float | None = None

    def job(self, number: int) -> DecodedJob:
        """As the step `decode` gives it."""
        job = declare().job()
        heartbeat = None if self.heartbeat_s is None else timedelta(seconds=self.heartbeat_s)
        timeout = timedelta(seconds=self.timeout_s)
        job.job_type = replace(job.job_type, handler=self.handler, own_timeout=timeout, heartbeat=heartbeat)
        job.run.job_id, job.args = f"job-{number}", (number,)
        return job


@dataclass
class Shift:
    """Jobs that were handed to runners, and how they ended, in that order."""

    runners: Any = None
    dog: Watchdog = field(init=False)
    ended: list[tuple[int, Ran]] = field(default_factory=list)
    orders: dict[int, Order] = field(default_factory=dict)
    begun: dict[int, DecodedJob] = field(default_factory=dict)

    def hand_in(self, *orders: Order) -> None:
        """Make jobs ready, numbered from where the last ones ended."""
        numbers = range(len(self.orders), len(self.orders) + len(orders))
        self.orders.update(zip(numbers, orders, strict=True))
        self.runners.make_ready([plain_record(number) for number in numbers])

    def in_thread(self, record: Record, slot: Slot) -> None:
        """Run as a sync job."""
        self.ended.append((record.offset, run_sync(self._begin(record.offset), slot, STEP_CONTEXT)))

    async def on_loop(self, record: Record, slot: AsyncSlot) -> None:
        """Run as an async job."""
        result = await run_async(self._begin(record.offset), slot, STEP_CONTEXT)
        self.ended.append((record.offset, result))

    def _begin(self, number: int) -> DecodedJob:
        self.begun[number] = self.orders[number].job(number)
        return self.begun[number]

    def wait_ended(self, *numbers: int, within_s: float = 60.0) -> None:
        """Wait for the ends of these jobs."""
        wait_until(lambda: {n for n, _ in self.ended} >= set(numbers), within_s, f"jobs {numbers} to end")

    def result(self, number: int) -> Result:
        """How a job ended; it must have done so once."""
        (found,) = [result for ended, result in self.ended if ended == number]
        assert isinstance(found, Returned | Raised)
        return found

    def outcome(self, number: int) -> Outcome:
        """What becomes of a job."""
        return decide(self.begun[number], self.result(number), declare().step_context)

    def is_timed_out(self, number: int) -> bool:
        """Whether a job ended by its limits."""
        result = self.result(number)
        return isinstance(result, Raised) and isinstance(result.error, TimeLimitExceeded)

    def has_returned(self, number: int) -> bool:
        """Whether a job ended by itself."""
        return isinstance(self.result(number), Returned)


def resist(until: threading.Event) -> None:
    """Go on past the timeout until let go, whatever is raised inside; to be called by a job."""
    while True:
        with suppress(BaseException):  # around all of it: the one interrupt may come at any instruction
            while not until.is_set():
                until.wait(0.01)
            return


@contextmanager
def threads(size: int) -> Iterator[Shift]:
    """Threads under a watchdog."""
    shift = Shift()
    shift.runners = ThreadRunners(size, shift.in_thread, "test")
    with _watched(shift):
        yield shift
    shift.runners.stop()


@contextmanager
def loops(size: int) -> Iterator[Shift]:
    """An event loop under a watchdog."""
    shift = Shift()
    shift.runners = AsyncRunners(size, shift.on_loop, "test")
    with _watched(shift):
        yield shift
    shift.runners.interrupt()
    shift.runners.wait_ended(time.monotonic() + 10)


@contextmanager
def _watched(shift: Shift) -> Iterator[None]:
    shift.dog = Watchdog([shift.runners], "test")
    shift.runners.start()
    shift.dog.start()
    try:
        yield
    finally:
        shift.dog.stop()


def hurry(monkeypatch: pytest.MonkeyPatch, *, lost_after_s: float = 60.0) -> None:
    """Let what takes seconds take tenths of them."""
    monkeypatch.setattr(watchdog, "STUCK_AFTER_S", 0.2)
    monkeypatch.setattr(loop_watch, "BLOCKED_AFTER_S", 0.2)
    monkeypatch.setattr(async_runners, "REPLACE_AFTER_S", 0.5)
    monkeypatch.setattr(async_runners, "LOST_AFTER_S", lost_after_s)
    monkeypatch.setattr(async_runners, "UNKNOWN_LOST_AFTER_S", lost_after_s)
