"""One way to end a run, in a thread, on an event loop or in a child process: its outcome follows from the reason."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from stoker.consumers.isolation.child_slot import ChildSlot
from stoker.consumers.job.endings import Discard, InterruptReason, JobInterrupted, Snooze
from stoker.consumers.job.run import Run
from stoker.consumers.records.outcomes import DONE, INTERRUPTED, Cancelled, Done, Interrupted, Outcome, Retried, Snoozed
from stoker.consumers.runners.watchdog import RunnerSlot
from support.programs import isolated_jobs
from support.scenes.deliveries import plain_record
from support.scenes.isolated_runners import declare as declare_isolated
from support.scenes.isolated_runners import isolated
from support.scenes.watched_runners import Order, Shift, loops, threads
from support.waiting import wait_until

CANCELLED = Cancelled(reason="cancelled", detail="it was cancelled while it ran")


def interrupted(slot: RunnerSlot, reason: InterruptReason) -> None:
    """Interrupt the job that runs in a slot."""
    context = wait_until(lambda: slot.run, 60, "the job to begin")
    assert context is not None
    slot.interrupt(context, reason)


def in_shift(shift: Shift, handler: Callable[[int], Any], reason: InterruptReason) -> Outcome:
    """The outcome of a job that is interrupted while it runs."""
    shift.hand_in(Order(handler=handler))
    interrupted(shift.runners.slots[0], reason)
    shift.wait_ended(0)
    shift.hand_in(Order(handler=end_async if asyncio.iscoroutinefunction(handler) else end))
    shift.wait_ended(1)
    assert shift.has_returned(1), "the next job in the same slot is not touched"
    return shift.outcome(0)


def end(number: int) -> None:
    """A job that ends at once."""


async def end_async(number: int) -> None:
    """An async job that ends after one suspension."""
    await asyncio.sleep(0)


def of_thread(reason: InterruptReason, _folder: Path) -> Outcome:
    """A sync job in Python code."""

    def spin(number: int) -> None:
        while True:
            time.sleep(0.001)

    with threads(1) as shift:
        return in_shift(shift, spin, reason)


def of_suspended_task(reason: InterruptReason, _folder: Path) -> Outcome:
    """An async job that awaits."""

    async def wait_for_ever(number: int) -> None:
        await asyncio.Event().wait()

    with loops(1) as shift:
        return in_shift(shift, wait_for_ever, reason)


def of_computing_task(reason: InterruptReason, _folder: Path) -> Outcome:
    """An async job that holds the loop."""

    async def compute(number: int) -> None:
        while True:
            pass

    with loops(1) as shift:
        return in_shift(shift, compute, reason)


def of_child(reason: InterruptReason, folder: Path) -> Outcome:
    """A job in a child process; its timeout is the only reason that the worker's side finds by itself."""
    timeout = timedelta(seconds=1 if reason == "timeout" else 60)
    pipeline, queue, (sleep,) = declare_isolated(isolated_jobs.sleep, timeout=timeout)
    with isolated(pipeline, queue) as here:
        job = here.offer(sleep, str(folder / "notes"), 60.0)
        wait_until(lambda: isolated_jobs.notes(folder / "notes"), 60, "the job's begin")
        interrupted(here.runners.slots[0], reason)
        (outcome,) = here.wait(job)
        assert here.assignment.crash_history.crashes == {}, "the child was killed for it, which is no crash"
        assert here.run(sleep, str(folder / "notes"), 0.0) is DONE, "the next job has a child"
    return outcome


KINDS = [of_thread, of_suspended_task, of_computing_task, of_child]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_cancelled_run_ends_as_cancelled(kind: Callable[[InterruptReason, Path], Outcome], tmp_path: Path) -> None:
    """Wherever it runs."""
    assert kind("cancel", tmp_path) == CANCELLED


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_run_that_a_shutdown_ends_costs_no_attempt(
    kind: Callable[[InterruptReason, Path], Outcome], tmp_path: Path
) -> None:
    """Wherever it runs, it is delivered again."""
    assert kind("shutdown", tmp_path) is INTERRUPTED


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_run_past_its_limits_has_failed(kind: Callable[[InterruptReason, Path], Outcome], tmp_path: Path) -> None:
    """Wherever it runs, with the error that names the limit."""
    outcome = kind("timeout", tmp_path)
    assert isinstance(outcome, Retried)
    assert outcome.failure.error_type == "stoker.consumers.job.endings.TimeLimitExceeded"
    assert "timeout of" in outcome.failure.message


SOON = timedelta(minutes=5)
CHOSEN = [
    pytest.param(Snooze(SOON), "timeout", Snoozed, id="snoozed past its limits"),
    pytest.param(Discard("sold out"), "timeout", Cancelled, id="discarded past its limits"),
    pytest.param(ValueError("half done"), "timeout", Retried, id="failed past its limits"),
    pytest.param(None, "timeout", Done, id="done past its limits"),
    pytest.param(Snooze(SOON), "shutdown", Snoozed, id="snoozed at a shutdown"),
    pytest.param(Discard("sold out"), "shutdown", Cancelled, id="discarded at a shutdown"),
    pytest.param(ValueError("half done"), "shutdown", Interrupted, id="failed at a shutdown"),
]


@pytest.mark.parametrize(("ending", "reason", "outcome"), CHOSEN)
def test_a_sync_job_that_catches_its_interrupt_chooses_its_end(
    ending: Exception | None, reason: InterruptReason, outcome: type[Outcome]
) -> None:
    """What it raises then counts as in any run, or that it returns; only at a shutdown its failure does not."""

    def end_otherwise(number: int) -> None:
        try:
            while True:
                time.sleep(0.001)
        except JobInterrupted:
            if ending is not None:
                raise ending from None

    with threads(1) as shift:
        check_chosen(in_shift(shift, end_otherwise, reason), outcome)


@pytest.mark.parametrize(("ending", "reason", "outcome"), CHOSEN)
def test_an_async_job_that_catches_its_interrupt_chooses_its_end(
    ending: Exception | None, reason: InterruptReason, outcome: type[Outcome]
) -> None:
    """As a sync one does; its interrupt is the cancellation."""

    async def end_otherwise(number: int) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if ending is not None:
                raise ending from None

    with loops(1) as shift:
        check_chosen(in_shift(shift, end_otherwise, reason), outcome)


def check_chosen(found: Outcome, outcome: type[Outcome]) -> None:
    """Check that an outcome is of this class, and has what the job has said."""
    assert isinstance(found, outcome)
    if isinstance(found, Retried):
        assert (found.failure.error_type, found.failure.message) == ("ValueError", "half done")
    if isinstance(found, Cancelled):
        assert (found.reason, found.detail) == ("discarded", "sold out")


def test_the_first_reason_counts() -> None:
    """A job that is cancelled and then passes its timeout on the way out was cancelled."""
    let_go = threading.Event()

    def clean_up_slowly(number: int) -> None:
        try:
            while True:
                time.sleep(0.001)
        finally:
            let_go.wait(10)

    with threads(1) as shift:
        shift.hand_in(Order(handler=clean_up_slowly))
        (slot,) = shift.runners.slots
        interrupted(slot, "cancel")
        interrupted(slot, "timeout")
        let_go.set()
        shift.wait_ended(0)
        assert shift.outcome(0) == CANCELLED


def test_all_runs_of_a_worker_are_interrupted_at_once() -> None:
    """As its shutdown does when the grace is over."""

    def spin(number: int) -> None:
        while True:
            time.sleep(0.001)

    with threads(3) as shift:
        shift.hand_in(*[Order(handler=spin)] * 3)
        wait_until(lambda: shift.dog.running == 3, what="three runs")
        shift.dog.interrupt_all("shutdown")
        shift.wait_ended(0, 1, 2)


class Raced(Run):
    """A run that another thread interrupts just when the first one has seen that it has no reason to end yet."""

    given: list[InterruptReason]
    other: threading.Thread | None = None

    def _read(self) -> InterruptReason | None:
        found = self.given[-1] if self.given else None
        other, self.other = self.other, None
        if other is not None:
            other.start()
            other.join(0.2)  # it has done its worst, or waits for its turn
        return found

    def _write(self, reason: InterruptReason | None) -> None:
        if reason is None:
            self.given = []
        else:
            self.given.append(reason)

    interrupt_reason = property(_read, _write)


def test_of_two_reasons_at_once_one_counts() -> None:
    """Else the outcome would follow from the last one, and whoever gave the first would have it for done."""
    run, slot = Raced("job-1", "work", "q", 1, 1, plain_record(0)), ChildSlot("test")
    slot.run, given = run, run.given
    run.other = other = threading.Thread(target=slot.interrupt, args=(run, "cancel"))
    slot.interrupt(run, "shutdown")
    other.join(60)
    assert given == ["shutdown"]


def test_who_gives_a_reason_learns_whether_it_counts() -> None:
    """The first one does."""
    run = Run("job-1", "work", "q", 1, 1, plain_record(0))
    assert (run.interrupt("cancel"), run.interrupt("timeout"), run.interrupt_reason) == (True, False, "cancel")
