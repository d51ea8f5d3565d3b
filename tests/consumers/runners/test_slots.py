"""A sync job that runs past its timeout is ended, one that resists is reported, and no interrupt hits the next job."""

from __future__ import annotations

import logging
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta

import pytest

from stoker.consumers.job.context import current_job, current_job_or_none
from stoker.consumers.job.endings import INTERRUPTS, TimeLimitExceeded
from stoker.consumers.runners import watchdog
from stoker.consumers.runners.slots import Slot
from stoker.consumers.runners.watchdog import RESISTS, Watchdog
from stoker.consumers.steps.results import Raised, Returned
from stoker.consumers.steps.run_step import run_sync
from stoker.consumers.steps.steps import DecodedJob
from support.scenes.deliveries import STEP_CONTEXT, declare
from support.waiting import wait_until


def job_of(handler: Callable[[int], object], timeout_s: float) -> DecodedJob:
    """A job whose handler has that much time."""
    job = declare().job()
    job.job_type = replace(job.job_type, handler=handler, own_timeout=timedelta(seconds=timeout_s))
    return job


class SlotsOnly:
    """Slots without runners."""

    stuck_words = RESISTS
    ends_within_s = 0.0

    def __init__(self, *slots: Slot) -> None:
        self.slots = slots
        self.replaced: list[Slot] = []

    def check(self, now_s: float) -> None:
        """There is nothing else."""

    def replace(self, slot: Slot) -> bool:
        """Note it."""
        self.replaced.append(slot)
        return True


@contextmanager
def watched(*slots: Slot) -> Iterator[SlotsOnly]:
    """A watchdog over the slots."""
    runners = SlotsOnly(*slots)
    dog = Watchdog([runners], "q")
    dog.start()
    yield runners
    dog.stop()


def spin(until: Callable[[], bool]) -> None:
    """Compute in Python, as a job in a loop does."""
    while not until():
        pass


def test_a_job_in_a_python_loop_is_ended_at_its_timeout() -> None:
    """And its result is the failure that says so."""

    def spin_for_ever(number: int) -> None:
        spin(lambda: False)

    slot, began_at_s = Slot(), time.monotonic()
    with watched(slot):
        result = run_sync(job_of(spin_for_ever, 0.1), slot, STEP_CONTEXT)
    assert isinstance(result, Raised)
    assert isinstance(result.error, TimeLimitExceeded)
    assert "0.1 s" in str(result.error)
    assert 0.1 <= time.monotonic() - began_at_s < 30


class LateSlot(Slot):
    """A slot whose job is interrupted as it ends, before that can be called off."""

    is_late = False

    def end(self) -> None:
        """Raise what the watchdog raises in the thread, once."""
        run, self.is_late = self.run, not self.is_late
        if run is not None and self.is_late:
            run.interrupt_reason = "timeout"
            raise INTERRUPTS["timeout"]
        super().end()


def test_an_interrupt_fails_no_job_that_has_returned() -> None:
    """It came too late: the job is done, and would be run a second time."""
    slot = LateSlot()
    result = run_sync(job_of(lambda number: "done", 1), slot, STEP_CONTEXT)
    assert result == Returned("done")
    assert slot.run is None


def test_an_interrupt_changes_no_failure_of_a_job_that_has_ended() -> None:
    """People look for the error that the job raised."""

    def fail(number: int) -> None:
        raise LookupError(number)

    result = run_sync(job_of(fail, 1), LateSlot(), STEP_CONTEXT)
    assert isinstance(result, Raised)
    assert isinstance(result.error, LookupError)


def test_except_exception_does_not_swallow_the_timeout() -> None:
    """The usual catch-all of a job lets it through."""

    def swallow_errors(number: int) -> None:
        while True:
            with suppress(Exception):
                spin(lambda: False)

    slot = Slot()
    with watched(slot):
        result = run_sync(job_of(swallow_errors, 0.1), slot, STEP_CONTEXT)
    assert isinstance(result, Raised)


@pytest.mark.expected_errors("is stuck")
def test_a_job_that_resists_is_reported_with_its_stack(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Once, with its id; it is not interrupted again and again."""
    monkeypatch.setattr(watchdog, "STUCK_AFTER_S", 0.1)
    reported, interrupts = threading.Event(), list[BaseException]()

    def resist_the_timeout(number: int) -> None:
        while not reported.is_set():
            try:
                spin(reported.is_set)
            except BaseException as error:  # noqa: BLE001  # the test's point
                interrupts.append(error)

    slot = Slot()
    with watched(slot) as runners, caplog.at_level(logging.ERROR, "stoker.timeouts"):
        runner = threading.Thread(target=run_sync, args=(job_of(resist_the_timeout, 0.05), slot, STEP_CONTEXT))
        runner.start()
        wait_until(lambda: slot.reported, what="the report")
        wait_until(lambda: caplog.records, what="its log record")
        reported.set()
        runner.join(60)
    assert len(interrupts) == 1
    assert runners.replaced == [slot]
    (record,) = caplog.records
    assert "resist_the_timeout" in record.getMessage()
    assert record.__dict__["job_id"] == "job-1"


def test_a_job_in_time_is_not_interrupted() -> None:
    """Its value comes back."""
    slot = Slot()
    with watched(slot):
        assert run_sync(job_of(lambda number: number + 1, 5), slot, STEP_CONTEXT) == Returned(2)


def test_no_interrupt_ever_hits_what_runs_next() -> None:
    """Jobs that end just when they are interrupted, hundreds of times: each is done or timed out, nothing leaks."""
    slot, draw, outcomes = Slot(), random.Random(5), {"done": 0, "interrupted": 0}

    def end_at_the_interrupt(number: int) -> None:
        steps = draw.randrange(200)
        spin(lambda: current_job()._run.interrupt_reason is not None)
        for _ in range(steps):
            pass

    def interrupt_when_due() -> None:
        while not finished.is_set():
            context = slot.run
            if context is not None and time.monotonic() > context.deadline_at_s:
                slot.interrupt(context, "timeout")

    finished, interval_s = threading.Event(), sys.getswitchinterval()
    sys.setswitchinterval(1e-5)  # many changes of threads, so that interrupts fall everywhere
    interrupter = threading.Thread(target=interrupt_when_due)
    interrupter.start()
    try:
        for _ in range(300):
            result = run_sync(job_of(end_at_the_interrupt, 0.0001), slot, STEP_CONTEXT)
            outcomes["done" if isinstance(result, Returned) else "interrupted"] += 1
            assert isinstance(result, Returned) or isinstance(getattr(result, "error", None), TimeLimitExceeded)
            assert slot.run is None
            assert sum(range(300)) == 44_850  # what runs next: an interrupt that leaked would raise here
    finally:
        sys.setswitchinterval(interval_s)
        finished.set()
        interrupter.join()
    assert sum(outcomes.values()) == 300


def test_no_job_is_current_after_a_run_however_it_ended() -> None:
    """Code outside jobs must not find one."""
    slot = Slot()
    for handler in (lambda number: None, lambda number: 1 / 0):
        run_sync(job_of(handler, 5), slot, STEP_CONTEXT)
        assert current_job_or_none() is None


@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt(), GeneratorExit(), TimeoutError("own")])
def test_whatever_a_job_raises_stays_inside_its_run(error: BaseException) -> None:
    """The runner's thread goes on."""

    def fail(number: int) -> None:
        raise error

    assert run_sync(job_of(fail, 5), Slot(), STEP_CONTEXT) == Raised(error)


TRACED = """
import sys
from stoker.consumers.runners.slots import take_back_interrupt

def answer() -> int:
    return 42

def trace(frame, event, argument):
    return trace

take_back_interrupt()
sys.settrace(trace)
print(answer())
"""


def test_a_thread_can_be_traced_after_an_interrupt_was_taken_back() -> None:
    """CPython 3.11 would hang in the first function that a debugger traces, whichever thread that is in."""
    done = subprocess.run([sys.executable, "-c", TRACED], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("42\n", "")
