"""Gates that count runs: each run that begins is counted once and ends once, and what is held back is not counted."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, cast

import pytest

from stoker.consumers import RateLimited
from stoker.consumers.gates.gate import START, Gate, PlainWhy, Start, Wait
from stoker.consumers.gates.gate_row import Beginning, GateRow
from stoker.consumers.gates.pauses import Pause, Pauses
from stoker.consumers.instruments.instrument import Instrument
from stoker.consumers.instruments.instruments import Instruments
from stoker.consumers.job.endings import InterruptReason, JobInterrupted
from stoker.consumers.metrics.job_figures import JobFigures
from stoker.consumers.progress.assignment import Assignment
from stoker.consumers.records.outcomes import DONE, INTERRUPTED, SKIPPED, Dead, Outcome, Snoozed
from stoker.consumers.records.record import Record
from stoker.consumers.runners.async_slots import AsyncSlot, LoopState
from stoker.consumers.runners.slots import Slot
from stoker.consumers.settling.excuse import Excuse
from stoker.consumers.settling.settlement import Settlement, SettlementBatch
from stoker.consumers.settling.writes import NOTHING
from stoker.consumers.steps.pipe import Pipe, RunStep
from stoker.consumers.steps.results import Decided, Raised, Ran
from stoker.consumers.steps.run_step import run_async, run_sync
from stoker.consumers.steps.steps import DecodedJob, StepContext, decode
from stoker.producers.metrics.all_metrics import RUN_SECONDS, WAIT_SECONDS
from stoker.producers.metrics.histogram import HistogramValue
from support.programs import isolated_jobs
from support.scenes.deliveries import NOW_S, Delivery, declare, plain_record
from support.scenes.instruments import CountingInstrument
from support.scenes.isolated_runners import declare as declare_isolated
from support.scenes.isolated_runners import isolated

FULL = PlainWhy("full", "a run ends")
OTHER = plain_record(1)


@dataclass
class OneAtATime(Gate):
    """Lets one record run; `calls` is what it was told."""

    row: GateRow
    calls: list[str] = field(default_factory=list)
    running: int = 0

    @property
    def is_resting(self) -> bool:
        """Whether nothing runs."""
        return not self.running

    @property
    def has_hooks(self) -> bool:
        """It counts runs."""
        return True

    def may_start(self, record: Record, now_s: float) -> Start | Wait:
        """While another one runs, no."""
        return Wait(until_at_s=None, why=FULL) if self.running else START

    def acquire(self, record: Record, now_s: float) -> Start | Wait:
        """Count it."""
        answer = self.may_start(record, now_s)
        if answer is START:
            self._note(f"take {record.offset}", 1)
        return answer

    def give_back(self, record: Record) -> None:
        """Count it no more."""
        self._note(f"give back {record.offset}", -1)

    def ended(self, record: Record, outcome: Outcome) -> None:
        """Let the next one run."""
        self._note(f"{type(outcome).__name__} {record.offset}", -1)
        self.row.wait_set.release(FULL)

    def _note(self, call: str, change: int) -> None:
        self.calls.append(call)
        self.running += change
        self.row.note_resting()


class Scene:
    """A row with such a gate, and behind it the pauses."""

    def __init__(self) -> None:
        self.cancelled: set[Record] = set()
        self.row, self.ready = GateRow(is_cancelled=lambda record: record in self.cancelled), list[Record]()
        self.gate, self.pauses = OneAtATime(self.row), Pauses(self.row)
        self.row.add([self.gate, self.pauses])
        self.row.start(self.ready.extend)

    def pipe(self, delivery: Delivery, outcomes: list[Outcome], *instruments: Instrument) -> Pipe:
        """A pipe through these gates."""
        context = replace(delivery.step_context, gates=self.row, instruments=Instruments(instruments))
        return Pipe(
            context,
            settle=lambda _record, outcome: outcomes.append(outcome),
            settle_done=lambda records: outcomes.extend(DONE for _ in records),
            fail=fail,
            excuse=Excuse(delivery.queue),
        )


def fail(record: Record, error: BaseException) -> None:
    """The worker must not fail."""
    raise AssertionError(record) from error


def test_a_run_is_counted_from_its_begin_to_its_end_though_the_gate_rests_before() -> None:
    """The second of two waits meanwhile, and is ready again when the first has ended."""
    scene, first, second = Scene(), plain_record(1), plain_record(2)
    assert not scene.row, "nothing is to be asked at the first look"
    assert scene.row.begin(first) is Beginning.BEGINS
    assert (scene.row.begin(second), len(scene.row._counted)) == (Beginning.WAITS, 1)
    scene.row.note_ended(first, DONE)
    assert (scene.ready, scene.gate.calls) == ([second], ["take 1", "Done 1"])


def test_what_a_later_gate_holds_back_is_given_back() -> None:
    """All gates count a record, or none does."""
    scene, record = Scene(), plain_record(1)
    scene.pauses.begin(Pause("q"))
    assert scene.row.begin(record) is Beginning.WAITS
    assert (scene.gate.calls, len(scene.row._counted)) == (["take 1", "give back 1"], 0)


def test_a_record_that_may_neither_begin_nor_wait_ends() -> None:
    """Its partition is given away, or its job is cancelled: it does not begin uncounted."""
    scene = Scene()
    assert scene.row.begin(plain_record(1)) is Beginning.BEGINS
    leaving = Assignment(1, "t", 0)
    leaving.leave()
    assert scene.row.begin(plain_record(2, assignment=leaving)) is Beginning.ENDS
    cancelled = plain_record(3)
    scene.cancelled.add(cancelled)
    assert scene.row.begin(cancelled) is Beginning.ENDS
    assert scene.row.view.count == 0


def test_a_row_without_hooks_keeps_nothing_of_a_run() -> None:
    """It costs nothing."""
    row = GateRow()
    row.add([Pauses(row)])
    assert row.begin(plain_record(1)) is Beginning.BEGINS
    assert (row.asked_last, row.has_hooks, len(row._counted)) == ((), False, 0)


def work(number: int) -> None:
    """Return, fail, or be refused."""
    if number == 3:
        raise RateLimited(after=timedelta(seconds=30))
    if number == 2:
        raise ValueError("no")


async def work_async(number: int) -> None:
    """The same on an event loop."""
    work(number)


@pytest.mark.parametrize("handler", [work, work_async], ids=["thread", "loop"])
@pytest.mark.parametrize(("number", "ended"), [(1, "Done 7"), (2, "Retried 7")])
def test_each_run_through_the_pipe_ends_once_with_its_outcome(
    handler: Callable[[int], Any], number: int, ended: str
) -> None:
    """In a thread, and on an event loop."""
    scene, outcomes, delivery = Scene(), list[Outcome](), declare(handler)
    pipe, record = scene.pipe(delivery, outcomes), delivery.record(value=delivery.payload(number))
    done = deque[Record]()
    if handler is work:
        pipe.pass_through(record, Slot(), run_sync, done)
    else:
        asyncio.run(
            pipe.pass_through_async(record, AsyncSlot("test", LoopState(), lambda _what: None), run_async, done)
        )
    assert scene.gate.calls == ["take 7", ended]
    assert (len(scene.row._counted), len(outcomes) + len(done)) == (0, 1)


def test_a_job_that_is_refused_by_the_other_side_holds_gates_before_its_run_ends() -> None:
    """Its slot would go to the next one else, which would be refused as well."""
    scene, outcomes, delivery = Scene(), list[Outcome](), declare(work)
    held: list[tuple[int, float, int]] = []

    def hold_until(record: Record, until_at_s: float) -> None:
        held.append((record.offset, until_at_s, scene.gate.running))

    scene.gate.hold_until = hold_until  # type: ignore[method-assign]
    scene.pipe(delivery, outcomes).pass_through(delivery.record(value=delivery.payload(3)), Slot(), run_sync)
    assert held == [(7, NOW_S + 30.0, 1)]
    (outcome,) = outcomes
    assert isinstance(outcome, Snoozed)
    assert outcome.due.timestamp() == NOW_S + 30.0


def test_a_record_that_does_not_come_to_its_handler_is_not_counted() -> None:
    """It is settled already: no run, no count."""
    scene, outcomes, delivery = Scene(), list[Outcome](), declare()
    delivery.ledger.add_job("job-1")
    scene.pipe(delivery, outcomes).pass_through(delivery.record(), Slot(), run_sync)
    assert (scene.gate.calls, len(outcomes)) == ([], 1)


def late(job: DecodedJob, slot: Slot, step_context: StepContext) -> Ran:
    """Run a job once another one has taken its place."""
    assert step_context.gates.begin(OTHER) is Beginning.BEGINS
    return run_sync(job, slot, step_context)


def known(_job: DecodedJob, _slot: Slot, _step_context: StepContext) -> Decided:
    """Decode a job alone, as one is whose schema is known by now: it does not begin."""
    return Decided(None)


@pytest.mark.parametrize("run", [late, known])
def test_a_job_that_ends_without_its_handler_has_no_run_in_metrics(run: RunStep[Slot]) -> None:
    """Though a runner had it in hand before, when a gate held it back or its schema was waited for."""
    scene, outcomes, delivery = Scene(), list[Outcome](), declare()
    pipe, record, figures = scene.pipe(delivery, outcomes), delivery.record(), JobFigures("q", ["work"])
    pipe.pass_through(record, Slot(), run)
    assert outcomes == []
    scene.row.note_ended(OTHER, DONE)
    delivery.ledger.add_job("job-1")
    pipe.pass_through(record, Slot(), run)
    assert outcomes == [SKIPPED]
    figures.fold(SettlementBatch([], [Settlement(record, SKIPPED, NOTHING)]))
    histograms = [sample.value for sample in figures.samples() if isinstance(sample.value, HistogramValue)]
    assert [sum(value.counts) for value in histograms] == [0, 0, 0], "no run, no wait, and no time to settle it"


def test_a_job_that_is_interrupted_before_it_began_has_no_run_in_metrics() -> None:
    """As one that waits for a child when its partition is given away: no slot knows when it began."""
    scene, outcomes, delivery = Scene(), list[Outcome](), declare()
    record, figures = delivery.record(), JobFigures("q", ["work"])
    scene.pipe(delivery, outcomes).pass_through(record, Slot(), lambda *_: Decided(INTERRUPTED))
    assert outcomes == [INTERRUPTED]
    figures.fold(SettlementBatch([], [Settlement(record, INTERRUPTED, NOTHING)]))
    histograms = [sample.value for sample in figures.samples() if sample.metric in (RUN_SECONDS, WAIT_SECONDS)]
    assert [sum(value.counts) for value in histograms if isinstance(value, HistogramValue)] == [0, 0]


def test_an_instrument_sees_a_job_begin_again_that_was_held_back_at_its_last_look() -> None:
    """As its description promises: an instrument that counts runs counts those that are decided."""
    counts, scene, outcomes, delivery = CountingInstrument(), Scene(), list[Outcome](), declare()
    pipe, record = scene.pipe(delivery, outcomes, counts), delivery.record()
    pipe.pass_through(record, Slot(), late)
    scene.row.note_ended(OTHER, DONE)
    pipe.pass_through(record, Slot(), run_sync)
    assert (counts.beginnings, counts.decisions) == ({str(record): 2}, {(str(record), "Done"): 1})


def test_a_run_that_is_interrupted_before_it_is_counted_does_not_begin() -> None:
    """Its handler would run uncounted until the interrupt comes."""
    called: list[int] = []

    async def note(number: int) -> None:
        called.append(number)

    scene, delivery = Scene(), declare(note)
    context = replace(delivery.step_context, gates=scene.row)
    job = decode(delivery.record(), context)

    class InterruptedSlot(AsyncSlot):
        """A slot whose run is interrupted as soon as it is visible."""

        def ask_or_withdraw(self, run: Any, ask: Callable[[Record], Beginning]) -> Beginning | InterruptReason:
            """After the interrupt."""
            self.interrupt(run, "timeout")
            return super().ask_or_withdraw(run, ask)

    slot = InterruptedSlot("test", LoopState(), lambda _what: None)
    result = asyncio.run(run_async(cast(Any, job), slot, context))
    assert isinstance(result, Raised)
    assert isinstance(result.error, JobInterrupted)
    assert (called, scene.gate.calls) == ([], [])


def test_the_run_of_a_child_that_dies_ends_before_its_job_may_run_again() -> None:
    """It would wait for its own end."""
    pipeline, queue, (act,) = declare_isolated(isolated_jobs.exit_at_once, crash_limit=2)
    with isolated(pipeline, queue) as here:
        gate = OneAtATime(here.gates)
        here.gates.add([gate])
        assert isinstance(here.run(act, 3), Dead)
    assert gate.calls == ["take 0", "Interrupted 0", "take 0"], "the pipe notes the last end"
