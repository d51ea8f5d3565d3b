"""`Pipe`: claim → decode → run → decide → settle, written once for all kinds of runners."""

from __future__ import annotations

import asyncio
import types
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping
from typing import Any, Final, TypeVar, cast

from ...topology import Queue
from ..gates.gate import Wait
from ..ordering.lanes import Lanes
from ..partitions.ledger import Ledger, tried_name
from ..records.outcomes import DONE, INTERRUPTED, Dead, Deferred, Outcome, Retried, is_lasting
from ..records.record import Record
from ..settling.excuse import Excuse
from ..settling.setbacks import log_setback
from ..settling.settle import Settler
from . import steps
from .results import Answered, Decided, Raised, Ran, Returned
from .steps import DecodedJob, StepContext, decide

SlotT = TypeVar("SlotT")
RAN: Final = (Returned, Raised, Answered, Decided)
RunStep = Callable[[DecodedJob, SlotT], Ran | Coroutine[object, None, Ran]]
"""Runs a job in a runner's slot; as a coroutine where handlers are async."""


class Pipe:
    """Carries the ready records of one queue; called by all runners.

    Args:
        settle: takes each outcome; `settle_done` records whose jobs are done, several at once.
        hold: keeps a record that has to wait at the gates; False where its partition is given away.
        fail: takes a fault of the worker's own, with the record that met it.

    Attributes:
        is_stopping: whether the runs that are cut short from now on are cut short by the worker.
    """

    def __init__(
        self,
        step_context: StepContext,
        *,
        settle: Callable[[Record, Outcome], None],
        settle_done: Callable[[list[Record]], None],
        hold: Callable[[Record, Wait], bool],
        fail: Callable[[Record, BaseException], None],
        excuse: Excuse,
    ) -> None:
        self._step_context = step_context
        self._settle = settle
        self._settle_done = settle_done
        self.hold = hold
        self._fail = fail
        self._excuse = excuse
        self._instruments = step_context.instruments
        self._is_watched = bool(self._instruments)
        self.is_stopping = False

    def carry(
        self, record: Record, slot: SlotT, run: RunStep[SlotT], done: deque[Record] | None = None
    ) -> Generator[Any, None, None]:
        """Take a record all the way; suspends only where `run` is a coroutine that does.

        With `done`, one whose job is done goes no further than there: `settle_done` settles several at once.
        A record that is to come again, such as one that waits for its schema, has no outcome here.
        """
        try:
            outcome: Outcome | None
            job = self._claim(record) or self._decode(record)
            if isinstance(job, DecodedJob):
                result = run(job, slot)
                if not isinstance(result, RAN):
                    result = yield from result.__await__()
                outcome = decide(job, result, self._step_context)
            else:
                outcome = job
            if outcome is None:
                return
            if self._is_watched:
                self._instruments.decided(record, outcome)
            if outcome is DONE and done is not None:
                done.append(record)
            else:
                self._settle(record, outcome)
        except GeneratorExit:  # nobody carries it on: its event loop is gone
            raise
        except BaseException as error:  # noqa: BLE001  # a fault of the worker's own: it stops, and the job comes again
            self._note_fault(record, error)

    types.coroutine(carry)  # from here on, its generators can be awaited

    def carry_async(
        self, record: Record, slot: SlotT, run: RunStep[SlotT], done: deque[Record] | None = None
    ) -> Awaitable[None]:
        """The same, for tasks on an event loop."""
        return cast(Awaitable[None], self.carry(record, slot, run, done))

    def settle_done(self, done: deque[Record]) -> None:
        """Settle what stands in `done`; any thread may call it, also of one that a runner goes on filling."""
        records = emptied(done)
        if records:
            try:
                self._settle_done(records)
            except BaseException as error:  # noqa: BLE001  # as above
                self._fail(records[0], error)

    def _note_fault(self, record: Record, error: BaseException) -> None:
        if not (self.is_stopping and isinstance(error, asyncio.CancelledError)):  # cut short before it began
            self._fail(record, error)

    def _claim(self, record: Record) -> Outcome | None:
        """None begins once failures are excused: the next of a strict key would begin before the excused one."""
        return INTERRUPTED if self._excuse.is_given else steps.claim(record, self._step_context)

    def _decode(self, record: Record) -> DecodedJob | Outcome | None:
        """None where the record waits at the gates: it is made ready again."""
        job = steps.decode(record, self._step_context)
        if isinstance(job, Wait):
            return None if self.hold(record, job) else INTERRUPTED
        if self._is_watched and isinstance(job, DecodedJob):
            self._instruments.begun(job.run)
        return job


class SettleStep:
    """The last step, *settle*: hands outcomes to the settler, and lets the next record of the lane run."""

    def __init__(
        self,
        queue: Queue,
        ledgers: Mapping[int, Ledger],
        lanes: Lanes,
        settler: Settler,
        excuse: Excuse,
    ) -> None:
        self._queue = queue
        self._ledgers = ledgers
        self._lanes = lanes
        self._settler = settler
        self._excuse = excuse

    def settle(self, record: Record, outcome: Outcome) -> None:
        """Remember what is settled for the next of the lane, then let the next one run."""
        ledger = self._ledgers.get(record.assignment.partition)
        if outcome is not DONE:
            outcome = self._excuse.applied(record, outcome)
            self._lanes.expect(record, outcome)
            if isinstance(outcome, Retried | Dead | Deferred):
                log_setback(record, outcome, self._queue)
        self._settler.hand_in(record, outcome)  # before the ledger has it: a repetition must not be settled first
        if ledger is not None:
            _remember(record, outcome, ledger)
        self._lanes.finish(record, outcome)

    def settle_done(self, records: list[Record]) -> None:
        """The same for jobs that are done, several at once: each part is entered once for all of them."""
        self._settler.hand_in_done(records)
        for record in records:
            ledger = self._ledgers.get(record.assignment.partition)
            if ledger is not None and record.deduplication_id is not None:
                ledger.add_job(record.deduplication_id)
        self._lanes.release_all(records)


def _remember(record: Record, outcome: Outcome, ledger: Ledger) -> None:
    """Add to the ledger what its twins must not do again: the job, or its attempt that has failed.

    The ledger is the one that was there before this is asked, so not that of a later assignment: there, a failure of
    this one is late and will not be written, and the record must not pass for settled.
    """
    if outcome is DONE or is_lasting(outcome):
        if record.deduplication_id is not None:
            ledger.add_job(record.deduplication_id)
    elif isinstance(outcome, Retried | Dead) and record.assignment.is_active:
        ledger.add(tried_name(record))


def emptied(records: deque[Record]) -> list[Record]:
    """Take out all; another thread may do the same, and each record goes to one of them."""
    taken: list[Record] = []
    while records:
        try:
            taken.append(records.popleft())
        except IndexError:  # the other one was faster
            break
    return taken
