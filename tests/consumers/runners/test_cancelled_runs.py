"""A running job that is cancelled may clean up, and ends as cancelled, with who did it and why."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from stoker.consumers import JobCancelled, current_job
from stoker.consumers.isolation import child_run
from stoker.consumers.job.run import Run
from stoker.consumers.records.cancellation import Cancellation
from stoker.consumers.records.outcomes import DONE, Cancelled, Outcome
from stoker.consumers.runners.watchdog import Watchdog
from support.programs import isolated_jobs
from support.scenes.isolated_runners import Isolated, isolated
from support.scenes.isolated_runners import declare as declare_isolated
from support.scenes.watched_runners import Order, hurry, loops, resist, threads
from support.waiting import wait_until

BY_ANA = Cancellation(operator="ana@host", reason="wrong price", order_id="order-1")
CANCELLED = Cancelled(reason="cancelled", detail="it was cancelled while it ran, by ana@host: wrong price", by=BY_ANA)


def cancelled_by_ana(_run: Run) -> Cancellation:
    """Cancel whatever runs."""
    return BY_ANA


class Notes:
    """What a job noted."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.is_known_to_asyncio = True

    def sync_job(self, _number: int) -> None:
        """Clean up in Python code."""
        self.said.append("begun")
        try:
            while True:
                time.sleep(0.001)
        except JobCancelled:
            self.said.append(f"cancelled {current_job().should_stop}")
            time.sleep(0.05)
            self.said.append("cleaned up")
            raise
        finally:
            self.said.append("finally")

    async def async_job(self, _number: int) -> None:
        """Clean up where it awaits."""
        self.said.append("begun")
        try:
            await asyncio.Event().wait()
        except JobCancelled as cancelled:
            self.is_known_to_asyncio = isinstance(cancelled, asyncio.CancelledError)
            self.said.append(f"cancelled {current_job().should_stop}")
            await asyncio.sleep(0.05)
            self.said.append("cleaned up")
            raise
        finally:
            self.said.append("finally")

    async def computing_job(self, _number: int) -> None:
        """Hold the loop, and await only to clean up."""
        self.said.append("begun")
        try:
            while True:
                pass
        except JobCancelled:
            self.said.append(f"cancelled {current_job().should_stop}")
            await asyncio.sleep(0.05)
            self.said.append("cleaned up")
            raise
        finally:
            self.said.append("finally")

    def wait(self, text: str) -> None:
        """Wait for a note."""
        wait_until(lambda: text in self.said, 60, f"{text!r} among {self.said}")


ALL_NOTES = ["begun", "cancelled True", "cleaned up", "finally"]


def test_the_cleaning_of_a_job_that_held_its_loop_is_not_cancelled() -> None:
    """It is cancelled once: where it computes, or else where it awaits."""
    notes = Notes()
    with loops(1) as shift:
        shift.hand_in(Order(handler=notes.computing_job))
        notes.wait("begun")
        assert shift.dog.cancel(cancelled_by_ana) == 1
        shift.wait_ended(0)
        assert shift.outcome(0) == CANCELLED
    assert notes.said == ALL_NOTES


@pytest.mark.parametrize("kind", ["thread", "loop"])
def test_a_cancelled_job_may_clean_up(kind: str) -> None:
    """`except JobCancelled` and `finally` run, `should_stop` is true, and who and why are in the outcome."""
    notes = Notes()
    with threads(1) if kind == "thread" else loops(1) as shift:
        shift.hand_in(Order(handler=notes.sync_job if kind == "thread" else notes.async_job))
        notes.wait("begun")
        wait_until(lambda: shift.dog.cancel(cancelled_by_ana) == 1, 60, "the cancel")
        shift.wait_ended(0)
        assert shift.outcome(0) == CANCELLED
    assert notes.said == ALL_NOTES
    assert notes.is_known_to_asyncio, "so that what a job has around its awaits takes it for a cancellation"


def test_only_the_runs_that_are_meant_are_cancelled() -> None:
    """The others go on; a cancel that comes twice ends nobody else."""
    let_go = threading.Event()
    began: list[int] = []

    def wait(number: int) -> None:
        began.append(number)
        while not let_go.is_set():
            time.sleep(0.001)

    def of_job_1(run: Run) -> Cancellation | None:
        return BY_ANA if run.job_id == "job-1" else None

    with threads(3) as shift:
        shift.hand_in(*[Order(handler=wait)] * 3)
        wait_until(lambda: len(began) == 3, 60, "three runs")
        assert shift.dog.cancel(of_job_1) == 1
        shift.wait_ended(1)
        assert shift.dog.cancel(of_job_1) == 0
        let_go.set()
        shift.wait_ended(0, 2)
        assert (shift.outcome(0), shift.outcome(1), shift.outcome(2)) == (DONE, CANCELLED, DONE)


def test_a_job_that_was_interrupted_before_is_not_cancelled() -> None:
    """Its first reason counts, and the answer does not count it."""
    let_go = threading.Event()

    def resist_for_a_while(_number: int) -> None:
        resist(let_go)

    with threads(1) as shift:
        shift.hand_in(Order(handler=resist_for_a_while))
        (slot,) = shift.runners.slots
        run = wait_until(lambda: slot.run, 60, "the run")
        assert run is not None
        slot.interrupt(run, "shutdown")
        assert shift.dog.cancel(cancelled_by_ana) == 0
        let_go.set()
        shift.wait_ended(0)


@pytest.mark.expected_errors("is stuck")
@pytest.mark.parametrize("ends", [threads, loops], ids=["thread", "loop"])
def test_a_cancelled_job_that_goes_on_is_stuck_soon(
    ends: Callable[[int], Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Not only when its timeout is over: another runner takes its place, and its heartbeats do not delay that."""
    hurry(monkeypatch)
    let_go, began = threading.Event(), threading.Event()

    def ignore(_number: int) -> None:
        began.set()
        while True:
            with suppress(BaseException):  # around all of it: the one interrupt may come at any instruction
                while not let_go.is_set():
                    current_job().heartbeat()
                    time.sleep(0.01)
                return

    async def ignore_async(_number: int) -> None:
        began.set()
        while True:
            with suppress(BaseException):
                while not let_go.is_set():
                    current_job().heartbeat()
                    await asyncio.sleep(0.01)
                return

    with caplog.at_level(logging.ERROR, "stoker.timeouts"), ends(1) as shift:
        handler = ignore if ends is threads else ignore_async
        shift.hand_in(Order(handler=handler, timeout_s=600, heartbeat_s=60))
        assert began.wait(60)
        wait_until(lambda: shift.dog.cancel(cancelled_by_ana), 60, "the cancel")
        wait_until(lambda: shift.dog.stuck == 1, 60, "the report")
        let_go.set()
        shift.wait_ended(0)
        assert shift.outcome(0) == DONE, "what it has done to the end is done"
    assert "past its cancel, and interrupting it had no effect; another runner takes its place" in caplog.text


# ---- in a child process


def cancelled_in_child(here: Isolated, *job: Any, file: Path) -> Outcome:
    """The outcome of a job in a child that is cancelled when it has noted something."""
    before = len(isolated_jobs.notes(file))
    job_id = here.offer(*job)
    wait_until(lambda: len(isolated_jobs.notes(file)) > before, 60, "the job's begin")
    assert Watchdog([here.runners], "q").cancel(cancelled_by_ana) == 1
    return here.wait(job_id)[0]


@pytest.mark.parametrize(
    "handler",
    [
        isolated_jobs.clean_up_when_cancelled,
        isolated_jobs.clean_up_when_cancelled_async,
        isolated_jobs.compute_until_cancelled_async,
    ],
    ids=lambda handler: handler.__name__,
)
def test_a_cancelled_isolated_job_may_clean_up(handler: Callable[..., Any], tmp_path: Path) -> None:
    """Also one in a blocking call; its process goes on with the next job."""
    pipeline, queue, (act, following) = declare_isolated(handler, isolated_jobs.note_run)
    file = tmp_path / "notes"
    with isolated(pipeline, queue) as here:
        assert here.run(following, str(file), "before") is DONE
        assert cancelled_in_child(here, act, str(file), 0.1, file=file) == CANCELLED
        assert here.run(following, str(file), "behind") is DONE
        before, *noted, behind = isolated_jobs.notes(file)
        assert noted == ALL_NOTES
        assert before.split()[-1] == behind.split()[-1]
        assert here.assignment.crash_history.crashes == {}


@pytest.mark.parametrize("kind", ["swallows", "in C code", "cleans up for long"])
def test_a_cancelled_isolated_job_that_goes_on_is_killed_after_its_grace(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it is at; that is no crash, and the next job has another process."""
    monkeypatch.setattr(child_run, "CANCEL_GRACE_S", 0.5)
    handlers: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
        "swallows": (isolated_jobs.go_on_when_cancelled, ()),
        "in C code": (isolated_jobs.hold_the_interpreter, (60,)),
        "cleans up for long": (isolated_jobs.clean_up_when_cancelled, (60.0,)),
    }
    handler, more = handlers[kind]
    pipeline, queue, (act, following) = declare_isolated(handler, isolated_jobs.note_run)
    file = tmp_path / "notes"
    with isolated(pipeline, queue) as here:
        assert cancelled_in_child(here, act, str(file), *more, file=file) == CANCELLED
        assert here.assignment.crash_history.crashes == {}
        assert here.run(following, str(file), "next") is DONE
    assert "cleaned up" not in isolated_jobs.notes(file)


def test_a_cancel_amid_a_message_does_not_tear_it(tmp_path: Path) -> None:
    """A job that writes to its worker all the time, such as log lines, is cancelled between two of them."""
    pipeline, queue, (log,) = declare_isolated(isolated_jobs.log_until_cancelled)
    file = tmp_path / "notes"
    with isolated(pipeline, queue) as here:
        for _ in range(10):
            assert cancelled_in_child(here, log, str(file), file=file) == CANCELLED
        assert here.assignment.crash_history.crashes == {}
    assert isolated_jobs.notes(file) == ["begun", "finally"] * 10
