"""A record that a gate lets go at once may be with the next runner already when the first one goes on."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, field, replace
from typing import Literal

import pytest

from stoker.consumers.gates.gate_row import GateRow
from stoker.consumers.gates.pauses import Pause, Pauses
from stoker.consumers.job.run import Run
from stoker.consumers.records.done_handful import DoneHandful
from stoker.consumers.records.outcomes import DONE, Outcome
from stoker.consumers.records.record import Record
from stoker.consumers.runners.async_slots import AsyncSlot, LoopState
from stoker.consumers.runners.slots import Slot
from stoker.consumers.settling.excuse import Excuse
from stoker.consumers.settling.settlement import SettlementBatch
from stoker.consumers.steps.pipe import Pipe
from stoker.consumers.steps.results import HeldBack, Ran
from stoker.consumers.steps.run_step import run_async, run_sync
from stoker.consumers.steps.steps import DecodedJob, StepContext
from stoker.consumers.tracing.run_spans import RunSpans
from stoker.topology.tracing.tracers import find_tracing
from support.scenes.deliveries import Delivery, declare
from support.sight.traces import DEADLINE_S, Recorded, record_spans

PAUSE = Pause("q")
Order = Literal["while the second runs", "after the second"]
"""When the first runner goes on."""
ORDERS: list[Order] = ["while the second runs", "after the second"]


@dataclass
class Scene:
    """A record that is held back at its last look, in a worker that records spans.

    Attributes:
        runs: the two runs, first the one that is held back.
    """

    delivery: Delivery
    runs: list[Run] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Pause the queue once the record has passed its gates."""
        tracing = find_tracing()
        assert tracing is not None
        self.spans, self.row = RunSpans(tracing, self.delivery.queue), GateRow()
        self.pauses, self.record = Pauses(self.row), self.delivery.record()
        self.ready, self.waited = list[Record](), list[Record]()
        self.row.add([self.pauses])
        self.row.start(self.ready.extend)

    def pipe(self) -> Pipe:
        """The pipe of both runners."""
        return Pipe(
            replace(self.delivery.step_context, gates=self.row, spans=self.spans),
            settle=lambda _record, outcome: self.outcomes.append(outcome),
            settle_done=lambda records: self.outcomes.extend(DONE for _ in records),
            fail=fail,
            excuse=Excuse(self.delivery.queue),
            wait_at_gates=self.waited.append,
        )

    def let_go(self) -> None:
        """Have the gate let it go."""
        self.pauses.end(PAUSE)
        assert self.ready == [self.record]

    def check(self, spans: Recorded) -> None:
        """Only the second run has times, and a span."""
        second = self.runs[-1]
        assert (self.outcomes, self.waited) == ([DONE], [self.record])
        assert self.record.began_at_s == second.began_at_s
        assert self.record.ended_at_s >= second.began_at_s
        self.spans.settled(SettlementBatch(done=[DoneHandful([self.record])]))
        ended = [(span.name, (span.attributes or {})["stoker.outcome"]) for span in spans.all]
        topic = self.record.topic
        assert ended == [(f"process {topic}", "done"), (f"settle {topic}", "done")]


def fail(record: Record, error: BaseException) -> None:
    """The worker must not fail."""
    raise AssertionError(record) from error


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Recorded:
    """All spans that have ended; the sampler drops none."""
    return record_spans(monkeypatch)


@pytest.mark.parametrize("order", ORDERS)
def test_a_thread_leaves_the_run_alone_that_another_thread_has_begun(order: Order, spans: Recorded) -> None:
    """The times of the record and the span are those of the run whose handler was called."""
    scene = Scene(declare())
    pipe, held, goes_on = scene.pipe(), threading.Event(), threading.Event()

    def hold_back(job: DecodedJob, slot: Slot, context: StepContext) -> Ran:
        scene.runs.append(job.run)
        scene.pauses.begin(PAUSE)
        ran = run_sync(job, slot, context)
        assert ran == HeldBack(None)
        held.set()
        assert goes_on.wait(DEADLINE_S)
        return ran

    def run_second(job: DecodedJob, slot: Slot, context: StepContext) -> Ran:
        scene.runs.append(job.run)
        if order == "while the second runs":
            goes_on.set()
            first.join(DEADLINE_S)
        return run_sync(job, slot, context)

    first = threading.Thread(target=pipe.pass_through, args=(scene.record, Slot(), hold_back))
    first.start()
    assert held.wait(DEADLINE_S)
    scene.let_go()
    pipe.pass_through(scene.record, Slot(), run_second)
    goes_on.set()
    first.join(DEADLINE_S)
    assert not first.is_alive()
    scene.check(spans)


async def do_nothing(number: int) -> None:
    """Do nothing, on an event loop."""


@pytest.mark.parametrize("order", ORDERS)
def test_a_task_leaves_the_run_alone_that_another_task_has_begun(order: Order, spans: Recorded) -> None:
    """As threads do."""
    scene, loop_state = Scene(declare(do_nothing)), LoopState()
    pipe = scene.pipe()

    def slot() -> AsyncSlot:
        return AsyncSlot("test", loop_state, lambda _what: None)

    async def run_both() -> None:
        held, goes_on = asyncio.Event(), asyncio.Event()

        async def hold_back(job: DecodedJob, slot: AsyncSlot, context: StepContext) -> Ran:
            scene.runs.append(job.run)
            scene.pauses.begin(PAUSE)
            ran = await run_async(job, slot, context)
            assert ran == HeldBack(None)
            held.set()
            await goes_on.wait()
            return ran

        async def run_second(job: DecodedJob, slot: AsyncSlot, context: StepContext) -> Ran:
            scene.runs.append(job.run)
            if order == "while the second runs":
                goes_on.set()
                await first
            return await run_async(job, slot, context)

        first = asyncio.create_task(pipe.pass_through_async(scene.record, slot(), hold_back))
        await held.wait()
        scene.let_go()
        await pipe.pass_through_async(scene.record, slot(), run_second)
        goes_on.set()
        await first

    asyncio.run(asyncio.wait_for(run_both(), DEADLINE_S))
    scene.check(spans)


def test_a_runner_whose_record_waits_at_the_first_look_leaves_the_next_run_alone(spans: Recorded) -> None:
    """It has begun no run that it could end."""
    scene = Scene(declare())
    pipe, held, goes_on = scene.pipe(), threading.Event(), threading.Event()
    admits = scene.row.admits

    def admit_slowly(record: Record) -> bool:
        is_admitted = admits(record)
        if not is_admitted:
            held.set()
            assert goes_on.wait(DEADLINE_S)
        return is_admitted

    def run_second(job: DecodedJob, slot: Slot, context: StepContext) -> Ran:
        scene.runs.append(job.run)
        goes_on.set()
        first.join(DEADLINE_S)
        return run_sync(job, slot, context)

    scene.row.admits = admit_slowly  # type: ignore[method-assign]
    scene.pauses.begin(PAUSE)
    first = threading.Thread(target=pipe.pass_through, args=(scene.record, Slot(), run_sync))
    first.start()
    assert held.wait(DEADLINE_S)
    scene.let_go()
    pipe.pass_through(scene.record, Slot(), run_second)
    scene.check(spans)
