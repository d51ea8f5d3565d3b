"""`JobRunner`: runs one job through the steps of a worker (check, encode, decode, run, decide), without Kafka."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, ParamSpec, TypeVar

from confluent_kafka import Message

from ..consumers.gates.gate import Wait
from ..consumers.gates.gate_row import GateRow
from ..consumers.job.dependencies import ALL_UP
from ..consumers.progress.assignment import Assignment
from ..consumers.records.outcomes import Outcome
from ..consumers.records.record import Record
from ..consumers.runners.async_slots import AsyncSlot, LoopState
from ..consumers.runners.slots import Slot
from ..consumers.settling.excuse import Excuse
from ..consumers.steps.pipe import Pipe
from ..consumers.steps.results import Raised, Ran, Returned
from ..consumers.steps.run_step import run_async, run_sync
from ..consumers.steps.steps import DecodedJob, StepContext
from ..producers.record import RecordBuilder
from ..schemas import Decoder
from ..schemas.stores.memory_store import MemorySchemaStore
from ..topology import JobType
from ..topology.declaration.job_type import ConfiguredJob, JobCall
from ..topology.wire import headers as wire

P = ParamSpec("P")
R = TypeVar("R")

SOURCE: Final = "/tests"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRun:
    """The outcome of one run.

    Attributes:
        outcome: what a worker would make of it: `Done`, `Retried`, `Dead`, `Snoozed` or `Cancelled`; `Delayed`
            where the call has a delay.
        returned: what the handler returned; None where it raised, or never ran.
        raised: what the handler raised, or what is wrong with the value that it returned.
    """

    outcome: Outcome
    returned: object = None
    raised: BaseException | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRunner:
    """Runs jobs as a worker does, one at a time; `current_job()` is there, with ids and headers as on the wire.

    The payload is checked, encoded and decoded, so that a test sees the values that a worker would. Options of the call
    are those of `with_options`. Breakers are closed: each `current_job().dependency(name)` begins. Not kept here:
    timeouts, and the process of its own of an isolated job.

    Attributes:
        attempt: which run of the job this is, from 1.
        now: the time of the run, by which its outcome is decided; None takes the clock's.
        waited: how long before that the job was enqueued.
        jitter: which share of the policy's jitter is added to a delay, 0 to 1; fixed, so that tests can name the time.
    """

    attempt: int = 1
    now: datetime | None = None
    waited: timedelta = timedelta(0)
    jitter: float = 0.0

    def run(self, job: JobType[P, R] | ConfiguredJob[P, R], /, *args: P.args, **kwargs: P.kwargs) -> JobRun:
        """Run one job; an async one on an event loop of its own.

        Raises:
            EnqueueError: a producer would refuse the call, for the same reason.
        """
        return self.run_call(job.call(*args, **kwargs))

    def run_call(self, call: JobCall) -> JobRun:
        """Run one bound call, as `run` does."""
        if call.job_type.is_async:
            return asyncio.run(self.run_call_async(call))
        trial, record = self._prepared(call)
        trial.pipe.pass_through(record, Slot(), trial.run_sync)
        return trial.concluded()

    async def run_async(self, job: JobType[P, R] | ConfiguredJob[P, R], /, *args: P.args, **kwargs: P.kwargs) -> JobRun:
        """Run one job on the event loop that runs; a sync one in this thread."""
        return await self.run_call_async(job.call(*args, **kwargs))

    async def run_call_async(self, call: JobCall) -> JobRun:
        """Run one bound call, as `run_async` does."""
        if not call.job_type.is_async:
            return self.run_call(call)
        trial, record = self._prepared(call)
        await trial.pipe.pass_through_async(record, AsyncSlot("test", LoopState(), lambda _what: None), trial.run_async)
        return trial.concluded()

    def _prepared(self, call: JobCall) -> tuple[_Trial, Record]:
        """The parts that take a job through its steps as a worker does, and the record as a worker would get it."""
        now_s = (self.now or datetime.now(UTC)).timestamp()
        job_type, store = call.job_type, MemorySchemaStore()
        store.register(job_type.contract)
        step_context = StepContext(
            queue=job_type.queue,
            job_types={job_type.name: job_type},
            decoder=Decoder(store),
            ledgers={},
            clock=lambda: now_s,
            chance=lambda: self.jitter,
            gates=GateRow(),
            dependencies=lambda _record, _policy: ALL_UP,
            note_held=_refuse_to_wait,
        )
        return _Trial(step_context), self._record(call, store, now_s - self.waited.total_seconds())

    def _record(self, call: JobCall, store: MemorySchemaStore, enqueued_s: float) -> Record:
        topic = call.job_type.queue.topic
        built = RecordBuilder(store, SOURCE, {topic: 1}, lambda: int(enqueued_s * 1e9)).build(call)
        attempt = [(wire.ATTEMPT, b"%d" % self.attempt)] if self.attempt > 1 else []
        message = Message(
            topic=topic,
            partition=0,
            offset=0,
            key=built.key,
            value=built.value,
            headers=[*built.headers, *attempt],
            timestamp=(1, int(enqueued_s * 1e3)),
        )
        return Record(message, Assignment(1, topic, 0))


class _Trial:
    """One job on its way; remembers what it gives at each step."""

    def __init__(self, step_context: StepContext) -> None:
        self._outcome: Outcome | None = None
        self._result: Ran | None = None
        self.pipe = Pipe(
            step_context,
            settle=self._settle,
            settle_done=_none_is_done_apart,
            fail=_raise,
            excuse=Excuse(step_context.queue),
        )

    def run_sync(self, job: DecodedJob, slot: Slot, step_context: StepContext) -> Ran:
        self._result = result = run_sync(job, slot, step_context)
        return result

    async def run_async(self, job: DecodedJob, slot: AsyncSlot, step_context: StepContext) -> Ran:
        self._result = result = await run_async(job, slot, step_context)
        return result

    def concluded(self) -> JobRun:
        assert self._outcome is not None
        return JobRun(
            outcome=self._outcome,
            returned=self._result.value if isinstance(self._result, Returned) else None,
            raised=self._result.error if isinstance(self._result, Raised) else None,
        )

    def _settle(self, _record: Record, outcome: Outcome) -> None:
        self._outcome = outcome


def _none_is_done_apart(records: list[Record]) -> None:
    raise AssertionError(f"{records}: `settle` takes each outcome")


def _refuse_to_wait(wait: Wait) -> None:
    raise AssertionError(f"the store holds the job's schema, and no gate was asked: {wait}")


def _raise(_record: Record, error: BaseException) -> None:
    raise error
