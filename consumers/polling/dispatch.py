"""Strings the steps together for one queue: lanes make records ready, threads or the loop run them, all is settled."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection, Iterable
from datetime import timedelta
from typing import Any, Final

from ...topology import Queue
from ...topology.wire.headers import JOB_TYPE
from ..isolation.runners import IsolatedRunners
from ..isolation.suspects import Suspects
from ..job.context import JobContext
from ..job.heartbeats import JobProgress
from ..ordering.lanes import Lanes
from ..ordering.strict_lanes import StrictLanes
from ..partitions.ledger import Ledger, tried_name
from ..records.assignment import Assignment
from ..records.job_fields import job_fields
from ..records.outcomes import DONE, INTERRUPTED, Dead, Deferred, Outcome, Retried, is_lasting
from ..records.record import Record
from ..runners.async_runners import AsyncRunners
from ..runners.async_slots import AsyncSlot
from ..runners.event_loop import LoopTrace
from ..runners.slots import Slot
from ..runners.threads import ThreadRunners
from ..runners.watchdog import Pool, Watchdog
from ..settings import WorkerSettings
from ..settling.event_publisher import EventPublisher
from ..settling.setbacks import log_excused, log_setback
from ..settling.settle import Settler
from ..settling.settlement import Settlement
from ..settling.writes import progress_event, utc
from ..steps.run import run_async, run_sync
from ..steps.schema_waits import AwaitedSchema, SchemaWaits
from ..steps.steps import DecodedJob, StepContext, claim, decide, decode

_LOGGER = logging.getLogger("stoker.worker")

SIGNAL_WITHIN_S: Final = 0.3
SIGNAL_POLL_S: Final = 0.005
CALM_S: Final = 10.0
"""How long no failure waits for a signal after one has waited in vain: it may hold an event loop meanwhile."""
ENDED_BY_SIGINT: Final = "died with <Signals.SIGINT"
"""What `subprocess.CalledProcessError` says, be it as the cause of another error."""


class Dispatch:
    """Everything between delivery and settling; `take` records, and the settler tells what became of them.

    Attributes:
        isolated: runs records in child processes; those of isolated job types, and those that are given to it.
        crashed: what a part of it failed with; None while all is well.
        excuses_failures: whether a failed run costs no attempt, as after a terminal's Ctrl+C.
    """

    excuses_failures = False
    _calm_until_s = 0.0

    def __init__(
        self,
        queue: Queue,
        step_context: StepContext,
        settler: Settler,
        events: EventPublisher,
        settings: WorkerSettings,
        *,
        waits: SchemaWaits,
    ) -> None:
        self._queue = queue
        self._waits = waits
        self._step_context = step_context
        self._settler = settler
        self._events = events
        kinds = step_context.job_types.items()
        self._isolated_names = frozenset(name.encode() for name, kind in kinds if kind.isolation)
        self._async_names = frozenset(name.encode() for name, kind in kinds if kind.is_async) - self._isolated_names
        self._lanes = (StrictLanes if queue.ordering == "strict" else Lanes)(self._make_ready)
        self._threads = ThreadRunners(settings.concurrency, self._run_sync, queue.name)
        self._loop = (
            AsyncRunners(settings.async_concurrency, self._run_async, queue.name) if self._async_names else None
        )
        self.isolated = IsolatedRunners(step_context, settings, self._run_isolated, self._note_crash)
        self._suspects = Suspects(queue, [name.encode() for name in self.isolated.addresses])
        pools: list[Pool[Any]] = [self._threads, self.isolated, *([] if self._loop is None else [self._loop])]
        self._worker_id = settings.worker_id
        self.watchdog = Watchdog(pools, queue.name, on_progress=self._tell_progress)
        self._is_stopping = False
        self._failure: BaseException | None = None

    def start(self) -> None:
        """Start all threads."""
        self._settler.start()
        self._waits.start(self._make_ready, self._put_off)
        self._threads.start()
        self.watchdog.start()
        if self._loop is not None:
            self._loop.start()
        if any(
            kind.isolation and kind.queue.name == self._queue.name for kind in self._step_context.job_types.values()
        ):
            self.isolated.start()

    @property
    def crashed(self) -> BaseException | None:
        """Why jobs cannot go on; None while they can."""
        loop = self._loop.crashed if self._loop is not None else None
        return self._failure or self.watchdog.crashed or loop or self._waits.crashed

    @property
    def parked(self) -> int:
        """Records that wait behind others of their key."""
        return self._lanes.parked

    def parked_records(self) -> list[Record]:
        """The same, each of them."""
        return self._lanes.parked_records()

    def awaited_tier(self, record: Record) -> timedelta | None:
        """The tier from which an earlier job of a parked record's key is to come first; None where none is."""
        return self._lanes.awaited_tier(record)

    @property
    def awaiting_schema(self) -> int:
        """Records that wait until the schema store was asked for their schema."""
        return self._waits.waiting

    def schemaless_records(self) -> list[Record]:
        """The same, each of them."""
        return self._waits.records()

    @property
    def schema_trouble(self) -> str | None:
        """Why the schema store cannot be asked; None while it can."""
        return self._waits.trouble

    @property
    def ready(self) -> int:
        """Records that could run at once, were a runner free."""
        return self._threads.ready + self.isolated.ready + (self._loop.ready if self._loop is not None else 0)

    def loops(self) -> tuple[LoopTrace, ...]:
        """The event loops, and whether they turn."""
        return () if self._loop is None else tuple(loop.trace() for loop in self._loop.loops)

    def begin(self, assignment: Assignment) -> None:
        """Begin with a restored assignment, before any of its records is taken."""
        self._suspects.begin(assignment)
        self._lanes.begin(assignment.awaited)
        assignment.awaited = {}

    def note_settled(self, settled: Iterable[Settlement]) -> None:
        """Let the lanes of these go on, where they wait until outcomes other than success are settled."""
        if self._suspects:
            self._suspects.forget_cleared()
        if isinstance(self._lanes, StrictLanes):
            for item in settled:
                if item.instead_of is not None and item.record.assignment.is_active:
                    self._lanes.expect_no_more(item.record, item.instead_of)
                self._lanes.release(item.record)

    def take(self, records: list[Record]) -> None:
        """Run these as soon as their lanes allow."""
        self._lanes.add(records)

    def drop(self, assignments: Collection[Assignment]) -> list[Record]:
        """Take back the records of these assignments that have not begun."""
        self._suspects.end(assignments)
        waiting = self._lanes.drop(assignments)
        ready = self._threads.drop(assignments)
        if self._loop is not None:
            ready += self._loop.drop(assignments)
        ready += self.isolated.drop(assignments) + self._waits.drop(assignments)
        for record in ready:
            self._lanes.release(record)
        return waiting + ready

    def stop(self, settle_within: timedelta) -> None:
        """Cut short what still runs, settle what has ended."""
        self._is_stopping = True
        self._waits.stop()
        self._threads.stop()
        self.watchdog.stop()
        self.isolated.stop()
        if self._loop is not None:
            self._loop.interrupt(within_s=1.0)
        self._settler.stop(settle_within)

    def _make_ready(self, records: list[Record]) -> None:
        if self._isolated_names or self._suspects:
            records = self._keep_apart(records)
        if self._loop is None:
            self._threads.make_ready(records)
            return
        for_loop = [record for record in records if record.headers.get(JOB_TYPE) in self._async_names]
        if for_loop:
            self._loop.make_ready(for_loop)
        if len(for_loop) < len(records):
            self._threads.make_ready([r for r in records if r.headers.get(JOB_TYPE) not in self._async_names])

    def _keep_apart(self, records: list[Record]) -> list[Record]:
        """Give isolated jobs and suspects to their runners, and the rest back."""
        names, suspects = self._isolated_names, self._suspects
        apart: list[Record] = []
        others: list[Record] = []
        for record in records:
            is_apart = record.headers.get(JOB_TYPE) in names or suspects.includes(record)
            (apart if is_apart else others).append(record)
        if apart:
            self.isolated.make_ready(apart)
        return others

    def _run_sync(self, record: Record, slot: Slot) -> None:
        try:
            task = self.prepare(record)
            outcome = decide(task, run_sync(task, slot), self._step_context) if isinstance(task, DecodedJob) else task
            if outcome is not None:
                self.finish(record, outcome)
        except BaseException as error:  # noqa: BLE001  # a fault of the worker's own: it stops, and the job comes again
            self._crash(record, error)

    def _run_isolated(self, record: Record, slot: Slot) -> None:
        try:
            task = self.prepare(record)
            outcome = self.isolated.outcome(task, slot) if isinstance(task, DecodedJob) else task
            if outcome is not None:  # else its child has died, or its schema is awaited: it comes again in a while
                self.finish(record, outcome)
        except BaseException as error:  # noqa: BLE001  # as above
            self._crash(record, error)

    async def _run_async(self, record: Record, slot: AsyncSlot) -> None:
        try:
            task = self.prepare(record)
            outcome = (
                decide(task, await run_async(task, slot, self._stops), self._step_context)
                if isinstance(task, DecodedJob)
                else task
            )
            if outcome is not None:
                self.finish(record, outcome)
        except BaseException as error:  # noqa: BLE001  # as above
            if not (self._is_stopping and isinstance(error, asyncio.CancelledError)):  # cut short before it began
                self._crash(record, error)

    def prepare(self, record: Record) -> DecodedJob | Outcome | None:
        """Claim and decode a ready record; None where it waits for its schema, and is made ready again after that.

        None begins once failures are excused: the next of a strict key would begin before the one that is excused.
        """
        if self.excuses_failures:
            return INTERRUPTED
        task = claim(record, self._step_context) or decode(record, self._step_context)
        if not isinstance(task, AwaitedSchema):
            return task
        return None if self._waits.hold(record, task.frame_id) else INTERRUPTED

    def _put_off(self, records: list[Record]) -> None:
        """End what nothing can be run of, without a runner: the schema store does not know their schemas."""
        for record in records:
            try:
                task = self.prepare(record)
                if isinstance(task, DecodedJob):  # it is known after all
                    self._make_ready([record])
                elif task is not None:
                    self.finish(record, task)
            except BaseException as error:  # noqa: BLE001  # as above
                self._crash(record, error)

    def finish(self, record: Record, outcome: Outcome) -> None:
        """Remember what is settled for the next of the lane, then let the next one run."""
        ledger = self._step_context.ledgers.get(record.assignment.partition)
        if ledger is not None and record.deduplication_id is not None and (outcome is DONE or is_lasting(outcome)):
            ledger.add_job(record.deduplication_id)
        if outcome is not DONE:
            outcome = self._excused(record, outcome)
            self._lanes.expect(record, outcome)
            self._note_setback(record, outcome, ledger)
        self._settler.hand_in(record, outcome)
        self._lanes.finish(record, outcome)

    def _excused(self, record: Record, outcome: Outcome) -> Outcome:
        """A failed run is interrupted where the terminal has interrupted what the job had started."""
        if not isinstance(outcome, Retried | Dead):
            return outcome
        if isinstance(outcome, Dead) and outcome.reason not in ("attempts-spent", "permanent"):
            return outcome
        if not self.excuses_failures and not self._is_about_to_excuse(outcome):
            return outcome
        log_excused(record, outcome, self._queue)
        return INTERRUPTED

    def _is_about_to_excuse(self, outcome: Retried | Dead) -> bool:
        """Of a program that SIGINT has ended: its end may be noticed here before this process's own signal is."""
        now_s = time.monotonic()
        if ENDED_BY_SIGINT not in outcome.failure.stack or now_s < self._calm_until_s:
            return self.excuses_failures
        while not self.excuses_failures and time.monotonic() < now_s + SIGNAL_WITHIN_S:
            time.sleep(SIGNAL_POLL_S)
        if not self.excuses_failures:
            self._calm_until_s = time.monotonic() + CALM_S
        return self.excuses_failures

    def _note_setback(self, record: Record, outcome: Outcome, ledger: Ledger | None) -> None:
        """Take note of what is neither done nor skipped; the ledger is the one that was there before this is asked.

        So it is not the ledger of a later assignment: there, the outcome of this one is late and will not be written,
        and the record must not pass for settled.
        """
        if isinstance(outcome, Retried | Dead) and record.assignment.is_active and ledger is not None:
            ledger.add(tried_name(record))
        if isinstance(outcome, Retried | Dead | Deferred):
            log_setback(record, outcome, self._queue)

    def _tell_progress(self, context: JobContext, latest: JobProgress) -> None:
        event = progress_event(
            context.record, latest, queue=self._queue, worker_id=self._worker_id, now=utc(time.time())
        )
        self._events.publish(event)

    def _stops(self) -> bool:
        return self._is_stopping

    def _note_crash(self, error: BaseException) -> None:
        self._failure = error

    def _crash(self, record: Record, error: BaseException) -> None:
        self._failure = error
        _LOGGER.critical(
            "the worker failed at %s; it stops, and the job will be delivered again",
            record,
            exc_info=error,
            extra=job_fields(record, self._queue.name),
        )
