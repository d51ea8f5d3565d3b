"""`Pipe`: claim → decode → run → decide → settle, written once for threads and once for tasks.

It is the second of the five files on the way of a job (docs/architecture.md); `steps/steps.py` is the next.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from ...topology.wire.headers import JOB_TYPE
from ..breakers.dead_guards import why_dead
from ..gates.gate import Wait
from ..job.run import Run
from ..ordering.lanes import Lanes
from ..partitions.ledger import Ledger
from ..records.done_handful import DoneHandful
from ..records.outcomes import DONE, INTERRUPTED, Dead, Deferred, Outcome, Retried, Snoozed, is_lasting
from ..records.record import Record
from ..runners.async_slots import AsyncSlot
from ..runners.slots import Slot
from ..settling.excuse import Excuse
from ..settling.setbacks import log_setback
from ..settling.settle import Settler
from ..unique.unique_jobs import UniqueJobs
from .late_decode import decode_noted
from .results import HeldBack, Ran
from .steps import DecodedJob, StepContext, claim, decide, decode
from .unique_claim import claim_unique

SlotT = TypeVar("SlotT")
RunStep = Callable[[DecodedJob, SlotT, StepContext], Ran]
"""Runs a job in a runner's slot."""
AsyncRunStep = Callable[[DecodedJob, SlotT, StepContext], Awaitable[Ran]]
"""Runs a job in a slot of the event loop."""
NoteLeft = Callable[[Iterable[Record]], None]
"""Takes records that have left their runners."""


class Pipe:
    """Takes the ready records of one queue through the steps; called by all runners,
    and by the thread that has asked for schemas.

    Args:
        settle: takes each outcome; `settle_done` records whose jobs are done, several at once.
        fail: takes a fault of the worker's own, with the record that met it.
        wait_at_gates: notes that a record waits at the gates which a runner had taken; or None.
    """

    def __init__(
        self,
        step_context: StepContext,
        *,
        settle: Callable[[Record, Outcome], None],
        settle_done: Callable[[list[Record]], None],
        fail: Callable[[Record, BaseException], None],
        excuse: Excuse,
        wait_at_gates: Callable[[Record], None] | None = None,
    ) -> None:
        self._step_context = step_context
        self._settle = settle
        self._settle_done = settle_done
        self._gates = step_context.gates
        self._fail = fail
        self._excuse = excuse
        self._wait_at_gates = wait_at_gates
        self._note_held = step_context.note_held
        self._settles_each = bool(step_context.queue.unique)  # when it ended decides about jobs that came meanwhile
        self._claim = claim_unique if self._settles_each else claim
        self._decode = decode if step_context.note_begun is None else decode_noted
        self._instruments = step_context.instruments
        self._spans = step_context.spans
        self._has_instruments = bool(self._instruments)
        self._is_stopping = False

    def stop(self) -> None:
        """From now on, a run that is cancelled is no fault: the worker cancels it."""
        self._is_stopping = True

    def send_back(self, record: Record, wait: Wait) -> bool:
        """Let a record wait at the gates, as a step or a runner asks; False where its partition is given away."""
        is_kept = self._gates.wait_set.add_sent_back(record, wait)
        if is_kept:
            self._note_held(wait)
        return is_kept

    def in_thread(self, run: RunStep[Slot]) -> Callable[[Record, Slot], None]:
        """Make what threads call with each record that they have from the runners."""

        def run_one(record: Record, slot: Slot) -> None:
            self.pass_through(record, slot, run, slot.done)

        return run_one

    def in_task(self, run: AsyncRunStep[AsyncSlot]) -> Callable[[Record, AsyncSlot], Awaitable[None]]:
        """Make what tasks of event loops await with each record that they have from the runners."""

        def run_one(record: Record, slot: AsyncSlot) -> Awaitable[None]:
            return self.pass_through_async(record, slot, run, slot.loop_state.done)

        return run_one

    def pass_through(self, record: Record, slot: SlotT, run: RunStep[SlotT], done: deque[Record] | None = None) -> None:
        """Take a record all the way, in the calling thread.

        With `done`, one whose job is done goes no further than there: `settle_done` settles several at once.
        A record that is to come again, such as one that waits for its schema, has no outcome here.
        """
        try:
            job = self._begun(record)
            if job is not None:
                ran = run(job, slot, self._step_context)
                outcome = decide(job, ran, self._step_context)
                if outcome is None:  # it is to come again, and has no times and no span of this run
                    self._leave(record)
                    return
                if not isinstance(ran, HeldBack):  # else no handler was called
                    _note_times(record, job.run)
                if outcome is not DONE and self._excuse.may_follow(outcome):
                    self._excuse.wait_for_signal()
                self._conclude(record, outcome, done, job.run)
        except BaseException as error:  # noqa: BLE001  # a fault of the worker's own: it stops, and the job comes again
            self._note_fault(record, error)

    async def pass_through_async(
        self, record: Record, slot: SlotT, run: AsyncRunStep[SlotT], done: deque[Record] | None = None
    ) -> None:
        """Take a record all the way in a task, which suspends where the job does."""
        try:
            job = self._begun(record)
            if job is not None:
                ran = await run(job, slot, self._step_context)
                outcome = decide(job, ran, self._step_context)
                if outcome is None:  # it is to come again, and has no times and no span of this run
                    self._leave(record)
                    return
                if not isinstance(ran, HeldBack):  # as above
                    _note_times(record, job.run)
                if outcome is not DONE and self._excuse.may_follow(outcome):
                    await self._excuse.wait_for_signal_async()
                self._conclude(record, outcome, done, job.run)
        except GeneratorExit:  # it goes on no more: its event loop is gone
            raise
        except BaseException as error:  # noqa: BLE001  # as above
            self._note_fault(record, error)

    def _begun(self, record: Record) -> DecodedJob | None:
        """Claim and decode a record; None where its job does not run now.

        No job begins once failures are excused: the next of a strict key would begin before the excused one.
        """
        if self._gates.asked and not self._gates.admits(record):
            self._leave(record)
            return None
        outcome = INTERRUPTED if self._excuse.is_given else self._claim(record, self._step_context)
        if outcome is None:
            job = self._decode(record, self._step_context)
            if isinstance(job, DecodedJob):
                if self._has_instruments:
                    self._instruments.begun(job.run)
                if self._spans is not None:
                    self._spans.begin(job.run)
                return job
            outcome = self._held(record, job) if isinstance(job, Wait) else job
        self._conclude_unrun(record, outcome)
        return None

    def _conclude_unrun(self, record: Record, outcome: Outcome | None) -> None:
        """Settle a record that did not come to its handler; None where it is to come again."""
        if outcome is None:
            self._leave(record)
            return
        if self._spans is not None:
            self._spans.note_unrun(record, outcome)
        self._conclude(record, outcome)

    def _held(self, record: Record, wait: Wait) -> Outcome | None:
        """None where the record waits at the gates: it is made ready again."""
        return None if self.send_back(record, wait) else INTERRUPTED

    def _leave(self, record: Record) -> None:
        """Note that a record is to come again: it waits at the gates.

        Another runner may have it by now, so this one changes nothing of it any more.
        """
        if self._wait_at_gates is not None:
            self._wait_at_gates(record)

    def _conclude(
        self, record: Record, outcome: Outcome, done: deque[Record] | None = None, run: Run | None = None
    ) -> None:
        """Settle what became of a record, and of its run if there was one."""
        if self._spans is not None and run is not None and run.trace_context is not None:
            self._spans.end(run, outcome)
        if outcome is not DONE:
            self._hold_limited(record, outcome)  # before its slots are free
        if self._gates.has_hooks:  # before the lane's next record asks the gates
            self._gates.note_ended(record, outcome)
        if self._has_instruments:
            self._instruments.decided(record, outcome)
        if outcome is DONE and done is not None and not self._settles_each:
            done.append(record)
        else:
            self._settle(record, outcome)

    def _hold_limited(self, record: Record, outcome: Outcome) -> None:
        """Hold back all other jobs of its limits' scopes, if the job was refused as rate-limited."""
        if isinstance(outcome, Snoozed) and outcome.is_limited:
            self._gates.hold_until(record, outcome.due.timestamp())

    def settle_done(self, done: deque[Record]) -> None:
        """Settle the records in `done`. Any thread may call it, also while a runner goes on adding to them."""
        records = emptied(done)
        if records:
            try:
                self._settle_done(records)
            except BaseException as error:  # noqa: BLE001  # as above
                self._fail(records[0], error)

    def _note_fault(self, record: Record, error: BaseException) -> None:
        if not (self._is_stopping and isinstance(error, asyncio.CancelledError)):  # cut short before it began
            self._fail(record, error)


class SettleStep:
    """The last step, *settle*: hands outcomes to the settler, and lets the next record of the lane run.

    Args:
        note_left: called for records that leave their runner with an outcome; None where no part counts them.
    """

    def __init__(
        self,
        step_context: StepContext,
        lanes: Lanes,
        settler: Settler,
        excuse: Excuse,
        *,
        note_left: NoteLeft | None = None,
    ) -> None:
        self._queue = queue = step_context.queue
        self._guards = step_context.guards
        self._note_left = note_left
        self._unique = step_context.unique if queue.unique else None
        self._ledgers = step_context.ledgers
        self._lanes = lanes
        self._settler = settler
        self._excuse = excuse

    def settle(self, record: Record, outcome: Outcome) -> None:
        """Enter an outcome where the next record of the lane looks for it, then let that one run."""
        ledger = self._ledgers.get(record.assignment.partition)
        if outcome is not DONE:
            outcome = self._excuse.applied(record, outcome)
            self._lanes.expect(record, outcome)
            if isinstance(outcome, Retried | Dead | Deferred):
                log_setback(record, outcome, self._queue)
                if self._guards and isinstance(outcome, Dead) and record.assignment.is_active:
                    self._guards.note(record.header(JOB_TYPE), why_dead(outcome))
        if self._unique is not None:
            self._note(record, outcome, self._unique(record.assignment.partition), ledger)
        self._settler.hand_in(record, outcome)  # before the ledger has it: a repetition must not be settled first
        if ledger is not None:
            _remember(record, outcome, ledger)
        if self._note_left is not None:
            self._note_left((record,))
        self._lanes.finish(record, outcome)

    def settle_done(self, records: list[Record]) -> None:
        """Settle several jobs that are done: each part is entered once for all of them."""
        handful = DoneHandful(records)
        self._settler.hand_in_done(handful)
        for assignment, some in handful.parts:
            ledger = self._ledgers.get(assignment.partition)
            if ledger is not None:
                ledger.add_jobs([record.deduplication_id for record in some if record.deduplication_id is not None])
        if self._note_left is not None:
            self._note_left(records)
        self._lanes.free_all(records)

    def _note(self, record: Record, outcome: Outcome, unique: UniqueJobs | None, ledger: Ledger | None) -> None:
        """Note what became of a unique job, before the settler writes it and the next of its lane has its turn."""
        if unique is not None:
            unique.note(record, outcome, has_ended=ledger is not None and ledger.has_job(record))


def _remember(record: Record, outcome: Outcome, ledger: Ledger) -> None:
    """Add a job, or its attempt that has failed, to the ledger, so that its twins do not run it again.

    The ledger is the one that was there before this is asked, so not that of a later assignment: there, a failure of
    this one is late and will not be written, and the record must not pass for settled.
    """
    if outcome is DONE or is_lasting(outcome):
        if record.deduplication_id is not None:
            ledger.add_job(record.deduplication_id)
    elif isinstance(outcome, Retried | Dead) and record.assignment.is_active:
        ledger.add_failed(record)


def _note_times(record: Record, run: Run) -> None:
    """Note when the run of a record began and ended, for its event."""
    record.ended_at_s = time.monotonic()
    heartbeats = run.heartbeats
    record.began_at_s = run.deadline_at_s - run.limits.first_s if heartbeats is None else heartbeats.began_at_s


def emptied(records: deque[Record]) -> list[Record]:
    """Take out all records. Another thread may do so at the same time: each record goes to one of the two."""
    taken: list[Record] = []
    while records:
        try:
            taken.append(records.popleft())
        except IndexError:  # the other one was faster
            break
    return taken
