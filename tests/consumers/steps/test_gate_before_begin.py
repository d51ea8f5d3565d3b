"""A job that a gate holds back from between its claim and its begin does not begin: the gate could not see the run."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from stoker.consumers.gates.gate_row import Beginning, GateRow
from stoker.consumers.gates.pauses import Pause, Pauses
from stoker.consumers.isolation.child_slot import ChildSlot
from stoker.consumers.job.endings import InterruptReason, JobInterrupted
from stoker.consumers.records.outcomes import DONE
from stoker.consumers.records.record import Record
from stoker.consumers.runners.async_slots import AsyncSlot, LoopState
from stoker.consumers.runners.slots import Slot
from stoker.consumers.steps.results import RETURNED_NOTHING, HeldBack, Raised, Ran
from stoker.consumers.steps.run_step import run_async, run_sync
from stoker.consumers.steps.steps import DecodedJob, StepContext, claim, decode
from support.programs import isolated_jobs
from support.scenes.deliveries import Delivery, declare
from support.scenes.isolated_runners import declare as declare_isolated
from support.scenes.isolated_runners import isolated
from support.waiting import wait_until

PAUSE = Pause("q")


class Gates:
    """The gates of queue `q`, and what they have let go."""

    def __init__(self) -> None:
        self.row, self.ready = GateRow(), list[Record]()
        self.pauses = Pauses(self.row)
        self.row.add([self.pauses])
        self.row.start(self.ready.extend)

    def context(self, delivery: Delivery) -> StepContext:
        """The context of steps behind these gates."""
        return replace(delivery.step_context, gates=self.row)

    def admitted(self, delivery: Delivery) -> DecodedJob:
        """A job that has passed the gates, claim and decode."""
        context, record = self.context(delivery), delivery.record()
        assert self.row.admits(record)
        assert claim(record, context) is None
        job = decode(record, context)
        assert isinstance(job, DecodedJob)
        return job


def of_thread(job: DecodedJob, context: StepContext) -> Ran:
    """Run it in this thread."""
    slot = Slot()
    result = run_sync(job, slot, context)
    assert slot.run is None
    return result


def of_task(job: DecodedJob, context: StepContext) -> Ran:
    """Run it on an event loop."""
    slot = AsyncSlot("test", LoopState(), lambda _what: None)
    result = asyncio.run(run_async(job, slot, context))
    assert slot.run is None
    return result


@pytest.mark.parametrize("run", [of_thread, of_task], ids=lambda run: run.__name__)
def test_a_job_whose_gate_closes_before_its_begin_waits_there(run: Callable[[DecodedJob, StepContext], Ran]) -> None:
    """Its handler is not called, its slot is free, and it is ready again when the gate lets it pass."""
    called: list[int] = []

    async def work_async(number: int) -> None:
        called.append(number)

    def work(number: int) -> None:
        called.append(number)

    gates, delivery = Gates(), declare(work_async if run is of_task else work)
    job, context = gates.admitted(delivery), gates.context(delivery)
    gates.pauses.begin(PAUSE)
    assert run(job, context) == HeldBack(None)
    assert (called, gates.row.view.counts(), gates.ready) == ([], {PAUSE: 1}, [])
    gates.pauses.end(PAUSE)
    assert (gates.ready, gates.row.view.counts()) == ([job.record], {})
    assert run(job, context) == RETURNED_NOTHING
    assert called == [1]


@pytest.mark.parametrize("run", [of_thread, of_task], ids=lambda run: run.__name__)
def test_a_gate_that_fails_is_a_fault_of_the_worker(run: Callable[[DecodedJob, StepContext], Ran]) -> None:
    """And no failure of the job, which would be a dead letter in the end: the worker stops, and the job comes again."""
    gates = Gates()

    async def work_async(_number: int) -> None:
        raise AssertionError("called")

    def work(_number: int) -> None:
        raise AssertionError("called")

    def fail(record: Record) -> Beginning:
        raise ZeroDivisionError

    delivery = declare(work_async if run is of_task else work)
    job, context = gates.admitted(delivery), gates.context(delivery)
    gates.pauses.begin(PAUSE)
    gates.row.begin = fail  # type: ignore[method-assign]
    with pytest.raises(ZeroDivisionError):
        run(job, context)


def test_an_isolated_job_whose_gate_closes_before_its_begin_waits_there(tmp_path: Path) -> None:
    """Its child runs the next one."""
    pipeline, queue, (act,) = declare_isolated(isolated_jobs.note_run)
    file = tmp_path / "notes"
    with isolated(pipeline, queue) as here:
        assert here.run(act, str(file), "before") is DONE
        pauses = Pauses(here.gates)
        here.gates.add([pauses])
        value = act.contract.header + act.contract.encode(act.contract.payload((str(file), "it"), {}))
        delivery = Delivery(pipeline=pipeline, queue=queue, work=act)
        record = delivery.record({"ce_type": b"note_run"}, value=value, assignment=here.assignment)
        job = decode(record, here.step_context)
        assert isinstance(job, DecodedJob)
        pauses.begin(PAUSE)
        assert here.runners.run(job, ChildSlot("test"), here.step_context) == HeldBack(None)
        assert here.gates.view.counts() == {PAUSE: 1}
        pauses.end(PAUSE)
        wait_until(lambda: "job-1" in here.outcomes, what="the job")
    assert [noted.split()[0] for noted in isolated_jobs.notes(file)] == ["before", "it"]


def test_no_interrupt_comes_while_a_job_goes_back_to_its_gate() -> None:
    """Or the record would wait there, and have an outcome as well: here the interrupt comes amid the look."""
    gates, slot, delivery = Gates(), Slot(), declare()
    job = gates.admitted(delivery)
    interrupting = threading.Thread(target=lambda: slot.interrupt(job.run, "timeout"))
    begin = gates.row.begin

    def slowly(record: Record) -> Beginning:
        interrupting.start()
        interrupting.join(0.1)  # it waits for the look to end
        return begin(record)

    gates.row.begin = slowly  # type: ignore[method-assign]
    gates.pauses.begin(PAUSE)
    assert run_sync(job, slot, gates.context(delivery)) == HeldBack(None)
    interrupting.join(60)
    assert (job.run.interrupt_reason, gates.row.view.counts()) == (None, {PAUSE: 1})


def test_a_run_that_is_interrupted_already_does_not_go_back_to_its_gate() -> None:
    """It ends by the interrupt."""
    gates, delivery = Gates(), declare()
    job = gates.admitted(delivery)
    gates.pauses.begin(PAUSE)

    class InterruptedSlot(Slot):
        """A slot whose run is interrupted as soon as it is visible."""

        def ask_or_withdraw(self, run: object, ask: Callable[[Record], Beginning]) -> Beginning | InterruptReason:
            """After the interrupt."""
            self.interrupt(job.run, "timeout")
            return super().ask_or_withdraw(job.run, ask)

    result = run_sync(job, InterruptedSlot(), gates.context(delivery))
    assert isinstance(result, Raised)
    assert isinstance(result.error, JobInterrupted)
    assert gates.row.view.counts() == {}
