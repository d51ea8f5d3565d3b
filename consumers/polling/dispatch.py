"""Strings the steps together for one queue: lanes make records ready, threads or the loop run them, all is settled."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Collection, Coroutine, Iterable
from datetime import timedelta
from typing import Any

from ...topology import Queue
from ...topology.wire.headers import JOB_TYPE
from ..isolation.runners import IsolatedRunners
from ..isolation.suspects import Suspects
from ..job.context import JobContext
from ..job.heartbeats import JobProgress
from ..ordering.lanes import Lanes
from ..ordering.strict_lanes import StrictLanes
from ..records.assignment import Assignment
from ..records.job_fields import job_fields
from ..records.record import Record
from ..runners.async_runners import AsyncRunners
from ..runners.async_slots import AsyncSlot
from ..runners.event_loop import LoopInspection
from ..runners.slots import Slot
from ..runners.threads import ThreadRunners
from ..runners.watchdog import Pool, Watchdog
from ..settings import WorkerSettings
from ..settling.event_publisher import EventPublisher
from ..settling.excuse import Excuse
from ..settling.settle import Settler
from ..settling.settlement import Settlement
from ..settling.writes import progress_event, utc
from ..steps.hand_over import HandOver
from ..steps.pipe import Pipe
from ..steps.run import run_async, run_sync
from ..steps.schema_waits import SchemaWaits
from ..steps.steps import Decided, DecodedJob, Result, StepContext

_LOGGER = logging.getLogger("stoker.worker")


class Dispatch:
    """Everything between delivery and settling; `take` records, and the settler tells what became of them.

    Attributes:
        isolated: runs records in child processes; those of isolated job types, and those that are given to it.
        crashed: what a part of it failed with; None while all is well.
        excuse: makes failed runs cost no attempt, as after a terminal's Ctrl+C.
        pipe: the way of one record, which all runners take.
    """

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
        self.excuse = Excuse(queue)
        self.pipe = Pipe(
            step_context,
            settle=HandOver(queue, step_context.ledgers, self._lanes, settler, self.excuse).end,
            hold=waits.hold,
            fail=self._crash,
            excuse=self.excuse,
        )
        self._threads = ThreadRunners(settings.concurrency, self._run_sync, queue.name)
        self._loop = (
            AsyncRunners(settings.async_concurrency, self._run_async, queue.name) if self._async_names else None
        )
        self.isolated = IsolatedRunners(step_context, settings, self._run_isolated, self._note_crash)
        self._suspects = Suspects(queue, [name.encode() for name in self.isolated.addresses])
        pools: list[Pool[Any]] = [self._threads, self.isolated, *([] if self._loop is None else [self._loop])]
        self._worker_id = settings.worker_id
        self.watchdog = Watchdog(pools, queue.name, on_progress=self._tell_progress)
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

    def loops(self) -> tuple[LoopInspection, ...]:
        """The event loops, and whether they turn."""
        return () if self._loop is None else tuple(loop.inspect() for loop in self._loop.loops)

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
        self.pipe.is_stopping = True
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
        for_loop = [record for record in records if record.header(JOB_TYPE) in self._async_names]
        if for_loop:
            self._loop.make_ready(for_loop)
        if len(for_loop) < len(records):
            self._threads.make_ready([r for r in records if r.header(JOB_TYPE) not in self._async_names])

    def _keep_apart(self, records: list[Record]) -> list[Record]:
        """Give isolated jobs and suspects to their runners, and the rest back."""
        names, suspects = self._isolated_names, self._suspects
        apart: list[Record] = []
        others: list[Record] = []
        for record in records:
            is_apart = record.header(JOB_TYPE) in names or suspects.includes(record)
            (apart if is_apart else others).append(record)
        if apart:
            self.isolated.make_ready(apart)
        return others

    def _run_sync(self, record: Record, slot: Slot) -> None:
        for _ in self.pipe.carry(record, slot, run_sync):
            pass  # it does not suspend

    def _run_isolated(self, record: Record, slot: Slot) -> None:
        for _ in self.pipe.carry(record, slot, self._run_in_child):
            pass  # as above

    def _run_in_child(self, job: DecodedJob, slot: Slot) -> Decided:
        return Decided(self.isolated.outcome(job, slot))

    def _run_async(self, record: Record, slot: AsyncSlot) -> Awaitable[None]:
        return self.pipe.carry_async(record, slot, self._run_on_loop)

    def _run_on_loop(self, job: DecodedJob, slot: AsyncSlot) -> Coroutine[Any, Any, Result]:
        return run_async(job, slot, self.pipe.stops)

    def _put_off(self, records: list[Record]) -> None:
        """End what nothing can be run of, without a runner: the schema store does not know their schemas."""
        for record in records:
            for _ in self.pipe.carry(record, None, self._make_ready_again):
                pass

    def _make_ready_again(self, job: DecodedJob, _place: None) -> Decided:
        """Its schema is known after all."""
        self._make_ready([job.record])
        return Decided(None)

    def _tell_progress(self, context: JobContext, latest: JobProgress) -> None:
        event = progress_event(
            context.record, latest, queue=self._queue, worker_id=self._worker_id, now=utc(time.time())
        )
        self._events.publish(event)

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
