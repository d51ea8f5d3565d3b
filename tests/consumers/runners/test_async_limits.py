"""Async jobs have their limits kept too: those that await, those that resist, and those that hold the event loop."""

from __future__ import annotations

import asyncio
import random
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import suppress

import pytest

from stoker.consumers.errors import LoopLost, TooManyStuck
from stoker.consumers.job.context import current_job
from stoker.consumers.job.endings import TimeLimitExceeded
from stoker.consumers.records.record import Record
from stoker.consumers.runners.async_slots import AsyncSlot, LoopState
from stoker.consumers.steps.results import Raised, Returned
from stoker.consumers.steps.run_step import run_async
from support.scenes.deliveries import STEP_CONTEXT
from support.scenes.watched_runners import Order, Shift, hurry, loops, resist
from support.waiting import wait_until


async def wait_for_ever(number: int) -> None:
    """As a job does whose answer never comes."""
    await asyncio.Event().wait()


async def do_nothing(number: int) -> None:
    """Suspend once, and end."""
    await asyncio.sleep(0)


async def compute_for_ever(number: int) -> None:
    """Hold the loop in Python code."""
    while True:
        pass


def holds(until: threading.Event) -> Callable[[int], object]:
    """A handler that holds the loop, and resists, until it is let go."""

    async def hold(number: int) -> None:
        resist(until)

    return hold


def test_a_job_that_waits_is_cancelled_at_its_timeout() -> None:
    """Its result is the failure that says so, and its task goes on with other jobs as if nothing had been."""

    async def time_out_inside(number: int) -> str:
        try:
            async with asyncio.timeout(0.01):
                await asyncio.sleep(10)
        except TimeoutError:
            return "its own timeout works"
        return ""

    with loops(1) as shift:
        shift.hand_in(Order(handler=wait_for_ever, timeout_s=0.1), Order(handler=time_out_inside))
        shift.wait_ended(0, 1)
    assert shift.is_timed_out(0)
    assert "0.1 s" in str(shift.result(0).error)  # type: ignore[union-attr]  # is_timed_out has seen it
    assert shift.has_returned(1)


def test_a_jobs_own_cancellations_are_its_own() -> None:
    """A task that the job cancels, and a `CancelledError` or `TimeoutError` that it raises, are no timeout."""

    async def cancel_a_child(number: int) -> str:
        child = asyncio.create_task(asyncio.sleep(10))
        await asyncio.sleep(0)
        child.cancel()
        try:
            await child
        except asyncio.CancelledError:
            return "seen"
        return ""

    async def raise_cancelled(number: int) -> None:
        raise asyncio.CancelledError

    async def raise_timeout(number: int) -> None:
        raise TimeoutError("its own")

    with loops(1) as shift:
        shift.hand_in(*(Order(handler=handler) for handler in (cancel_a_child, raise_cancelled, raise_timeout)))
        shift.wait_ended(0, 1, 2)
    assert shift.has_returned(0)
    assert isinstance(shift.result(1), Raised)
    assert not shift.is_timed_out(1)
    assert str(shift.result(2).error) == "its own"  # type: ignore[union-attr]  # or this fails


def test_a_silent_async_job_is_ended_and_one_that_beats_goes_on() -> None:
    """As with sync jobs."""

    async def beat(number: int) -> None:
        for _ in range(60):
            current_job().heartbeat()
            await asyncio.sleep(0.03)

    with loops(2) as shift:
        shift.hand_in(Order(handler=wait_for_ever, heartbeat_s=1.0), Order(handler=beat, heartbeat_s=1.0))
        shift.wait_ended(0, 1)
    assert shift.is_timed_out(0)
    assert "no heartbeat" in str(shift.result(0).error)  # type: ignore[union-attr]  # as above
    assert shift.has_returned(1)


@pytest.mark.expected_errors("is stuck")
def test_another_task_takes_the_place_of_a_job_that_swallows_its_cancellation(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is reported with its stack; with one task in all, others run meanwhile; its late result counts once."""
    hurry(monkeypatch)
    let_go = threading.Event()

    async def swallow_everything(number: int) -> None:
        while not let_go.is_set():
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0.01)

    with loops(1) as shift:
        shift.hand_in(Order(handler=swallow_everything, timeout_s=0.1), *[Order(handler=do_nothing)] * 5)
        shift.wait_ended(1, 2, 3, 4, 5)
        assert (shift.dog.running, shift.dog.stuck) == (1, 1)
        let_go.set()
        shift.wait_ended(0)
        wait_until(lambda: len(shift.runners.slots) == 1, what="the stuck job's task to end")
    assert all(shift.has_returned(number) for number in range(6))
    (report,) = [record.getMessage() for record in caplog.records if "is stuck" in record.getMessage()]
    assert "swallow_everything" in report


def test_a_job_that_computes_on_the_loop_is_ended_at_its_timeout() -> None:
    """Though it never awaits; the next ones run."""
    with loops(1) as shift:
        shift.hand_in(Order(handler=compute_for_ever, timeout_s=0.2), Order(handler=do_nothing))
        shift.wait_ended(0, 1)
    assert shift.is_timed_out(0)
    assert shift.has_returned(1)


class Leavers:
    """Jobs that suspend or end in the moment in which they are interrupted."""

    def __init__(self) -> None:
        self._draw = random.Random(7)
        self._begun: list[Coroutine[None, None, None]] = []

    def begin(self, number: int) -> Coroutine[None, None, None]:
        """The handler."""
        self._begun.append(self._leave())
        return self._begun[-1]

    async def _leave(self) -> None:
        run = current_job()._run
        while run.interrupt_reason is None:
            pass
        for _ in range(self._draw.randrange(60)):
            pass
        if self._draw.random() < 0.5:
            await asyncio.sleep(0)

    def close(self) -> None:
        """End those that were interrupted before their first step, or a later test would collect them and be warned."""
        for coroutine in self._begun:
            coroutine.close()


def test_no_interrupt_ever_hits_what_the_loop_does_next() -> None:
    """Jobs that suspend or end just when they are interrupted, hundreds of times: loop and others notice nothing."""
    state, finished = LoopState(), threading.Event()
    slots: list[AsyncSlot] = []
    leavers = Leavers()

    async def run_many() -> Counter[str]:
        loop, ends = asyncio.get_running_loop(), Counter[str]()
        slots.append(AsyncSlot("test", state, loop.call_soon_threadsafe))
        slots[0].task, state.thread_id = asyncio.current_task(), threading.get_ident()
        interrupter.start()
        for number in range(400):
            job = Order(handler=leavers.begin, timeout_s=0.0001).job(number)
            result = await run_async(job, slots[0], STEP_CONTEXT)
            assert isinstance(result, Returned) or isinstance(getattr(result, "error", None), TimeLimitExceeded)
            ends[type(result).__name__] += 1
            assert sum(range(300)) == 44_850  # what comes next: an interrupt that leaked would raise here
            await asyncio.sleep(0)
        leavers.close()
        return ends

    def interrupt_when_due() -> None:
        while not finished.is_set():
            context = slots[0].run
            if context is not None and time.monotonic() > context.deadline_at_s:
                slots[0].interrupt(context, "timeout")

    interrupter, interval_s = threading.Thread(target=interrupt_when_due), sys.getswitchinterval()
    sys.setswitchinterval(1e-5)  # many changes of threads, so that interrupts fall everywhere
    try:
        ends = asyncio.run(run_many())
    finally:
        finished.set()
        sys.setswitchinterval(interval_s)
        interrupter.join()
    assert ends.total() == 400


@pytest.mark.expected_errors("has not turned")
def test_while_a_job_holds_the_loop_others_run_on_another_one(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What is ready flows; who holds the loop is reported with its stack; when it is over, one loop is left."""
    hurry(monkeypatch)
    let_go = threading.Event()
    with loops(2) as shift:
        shift.hand_in(Order(handler=holds(let_go)))
        wait_until(lambda: shift.runners.loops[0].watch.blocked_s > 0.2, what="the loop to be seen as blocked")
        shift.hand_in(*[Order(handler=do_nothing)] * 10)
        shift.wait_ended(*range(1, 11))
        let_go.set()
        shift.wait_ended(0)
        wait_until(lambda: len(shift.runners.loops) == 1, what="the replacement to end")
        shift.hand_in(Order(handler=do_nothing))
        shift.wait_ended(11)
    assert all(shift.has_returned(number) for number in range(12))
    (warning,) = [record.getMessage() for record in caplog.records if "has held the event loop" in record.getMessage()]
    assert "job-0" in warning
    assert "until.wait(0.01)" in warning


@pytest.mark.expected_errors("has not turned")
def test_a_job_is_not_blamed_for_the_time_that_another_held_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its timeout passes while it cannot go on; it gets the time back, and ends well."""
    hurry(monkeypatch)
    let_go, slept = threading.Event(), threading.Event()

    async def sleep_a_little(number: int) -> None:
        slept.set()
        await asyncio.sleep(0.2)
        await asyncio.sleep(0.2)

    with loops(2) as shift:
        shift.hand_in(Order(handler=sleep_a_little, timeout_s=1.0))
        assert slept.wait(60)
        shift.hand_in(Order(handler=holds(let_go)))
        wait_until(lambda: shift.runners.loops[0].watch.blocked_s > 1.5, what="the sleeper's timeout to pass")
        let_go.set()
        shift.wait_ended(0, 1)
    assert shift.has_returned(0)


@pytest.mark.expected_errors("is stuck", "has not turned")
def test_a_loop_that_is_lost_with_others_on_it_stops_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a new process lets the suspended jobs go on."""
    hurry(monkeypatch, lost_after_s=0.5)
    let_go, waits = threading.Event(), threading.Event()

    async def wait_beside(number: int) -> None:
        waits.set()
        await asyncio.sleep(3)  # longer than a busy machine takes to hand in the next one

    with loops(2) as shift:
        shift.hand_in(Order(handler=wait_beside))
        assert waits.wait(60)
        shift.hand_in(Order(handler=holds(let_go), timeout_s=0.2))
        wait_until(lambda: shift.runners.crashed, what="the worker to give up")
        let_go.set()
        shift.wait_ended(0, 1)
    assert isinstance(shift.runners.crashed, LoopLost)
    assert "job job-1 holds the event loop" in str(shift.runners.crashed)


@pytest.mark.expected_errors("is stuck", "has not turned")
def test_a_record_that_is_being_prepared_on_a_lost_loop_stops_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its job has not begun, but it is taken, so that no other loop runs it."""
    hurry(monkeypatch, lost_after_s=0.5)
    let_go, is_prepared = threading.Event(), threading.Event()
    run_one = Shift.on_loop

    async def prepare_and_run(shift: Shift, record: Record, slot: AsyncSlot) -> None:
        if record.offset == 0:
            is_prepared.set()
            await asyncio.sleep(3)  # as for an answer of the schema store
        await run_one(shift, record, slot)

    monkeypatch.setattr(Shift, "on_loop", prepare_and_run)
    with loops(2) as shift:
        shift.hand_in(Order(handler=do_nothing), Order(handler=holds(let_go), timeout_s=0.2))
        assert is_prepared.wait(60)
        wait_until(lambda: shift.runners.crashed, what="the worker to give up")
        let_go.set()
        shift.wait_ended(0, 1)
    assert isinstance(shift.runners.crashed, LoopLost)


@pytest.mark.expected_errors("is stuck", "has not turned")
def test_a_lost_loop_with_nobody_on_it_costs_only_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """The replacement goes on, and so does the worker; but not for the fifth loop that is lost."""
    hurry(monkeypatch, lost_after_s=0.3)
    let_go = threading.Event()
    with loops(1) as shift:
        for lost in range(4):
            shift.hand_in(Order(handler=holds(let_go), timeout_s=0.1))
            wait_until(lambda lost=lost: shift.dog.stuck == lost + 1, what="a stuck job more")  # type: ignore[misc]
        wait_until(lambda: shift.runners.crashed, what="the worker to give up")
        let_go.set()
        shift.wait_ended(0, 1, 2, 3)
    assert isinstance(shift.runners.crashed, TooManyStuck)


@pytest.mark.expected_errors("started raised SystemExit")
def test_a_task_that_exits_does_not_end_the_loop_unseen(caplog: pytest.LogCaptureFixture) -> None:
    """asyncio lets `SystemExit` pass through the loop; the jobs on it go on all the same, and the log names the job."""

    async def exit_in_a_task(number: int) -> str:
        async def leave() -> None:
            sys.exit(3)

        child = asyncio.create_task(leave())
        await asyncio.wait([child])
        return repr(child.exception())

    with loops(1) as shift:
        shift.hand_in(Order(handler=exit_in_a_task), Order(handler=do_nothing))
        shift.wait_ended(0, 1)
    assert shift.has_returned(0)
    assert shift.has_returned(1)
    assert re.search(r"a task that job \S+ \(\w+\) started raised SystemExit", caplog.text)


@pytest.mark.expected_errors("has not turned")
def test_loops_that_turn_until_their_last_job_has_ended_are_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """However often a job holds the loop for a while: long jobs on the replacements go on, and so does the worker."""
    hurry(monkeypatch, lost_after_s=60.0)
    may_end = threading.Event()

    async def wait_long(_number: int) -> None:
        while not may_end.is_set():
            await asyncio.sleep(0.01)

    with loops(2) as shift:
        for times in range(5):
            let_go = threading.Event()
            shift.hand_in(Order(handler=holds(let_go)))
            wait_until(lambda times=times: len(shift.runners.loops) == times + 2, what="a replacement")  # type: ignore[misc]
            shift.hand_in(Order(handler=wait_long))
            wait_until(lambda times=times: 2 * times + 1 in shift.begun, what="the long job")  # type: ignore[misc]
            let_go.set()
            wait_until(lambda: shift.runners.loops[-1].is_stopping, what="the loop to turn again")
        assert shift.runners.crashed is None
        may_end.set()
        shift.wait_ended(*range(10))
