"""`Dispatch`: lanes make records ready, gates hold some of them back, runners carry the others through the pipe."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable
from datetime import timedelta
from functools import partial
from typing import Final

from ...schemas import wire_text
from ...topology.wire.headers import JOB_ID
from ..errors import LoopLost, TooManyStuck
from ..fairness.fair_runners import FairRunners
from ..fairness.read_ahead import ReadAhead
from ..gates.gate import Closed, Wait
from ..gates.gate_row import GateRow
from ..job.heartbeats import JobProgress
from ..job.run import Run
from ..ordering.key_lanes import KeyLanes
from ..ordering.parking import ParkingLimits
from ..ordering.strict_lanes import StrictLanes
from ..priorities.lanes import PriorityLanes
from ..priorities.ready import ReadyRecords
from ..records.assignment import Assignment
from ..records.job_fields import job_fields
from ..records.priorities import Priorities
from ..records.record import Record
from ..runner_parts import MakeRunners, RunnerParts
from ..runners.kinds import RunnerRow
from ..runners.watchdog import Watchdog
from ..settings import WorkerSettings
from ..settling.event_publisher import EventPublisher
from ..settling.events import progress_event
from ..settling.excuse import Excuse
from ..settling.settle import Settler
from ..settling.writes import utc
from ..steps.pipe import Pipe, SettleStep
from ..steps.results import Decided
from ..steps.schema_waits import SchemaWaits
from ..steps.steps import DecodedJob, StepContext

_LOGGER = logging.getLogger("stoker.worker")

INTERRUPT_WITHIN_S: Final = 1.0
"""How long a shutdown waits for the ends of the jobs that it interrupts, and for what they return or raise then."""
PARKED_SHARE: Final = 4
"""Parked jobs in memory take at most this part of the bytes that all jobs in memory may take."""
FLOODS_SHARE: Final = 0.75
"""Tenants with very many jobs have so much of the bound on jobs in memory once more for themselves, together."""
TENANTS_TURN: Final = Closed("fair", "its tenant has its turn: the runners are shared among tenants")
BY_JOBS: Final = (TooManyStuck, LoopLost)


class Dispatch:
    """The parts between the poll thread and the settler, and what concerns several of them at once.

    Attributes:
        queue: its name.
        cancels: those that stand in this process.
        lanes: take records from the poll thread, and decide which of each key's is ready.
        ready: the ready records by their priorities; None where the queue declares none.
        excuse: makes failed runs cost no attempt, as after a terminal's Ctrl+C.
        gates: hold back what may not start now.
        pipe: the way of one record, through which all runners carry theirs.
        runners: all kinds of them.
        fair: the same, where tenants share them; else None.
        read_ahead: passes tenants with more than their share; None where tenants share nothing.
        waits: asks for the schemas that records wait for at the gates.
        watchdog: checks all runs.
    """

    def __init__(
        self,
        step_context: StepContext,
        settler: Settler,
        events: EventPublisher,
        settings: WorkerSettings,
        *,
        gates: GateRow,
        waits: SchemaWaits,
        make_runners: MakeRunners,
    ) -> None:
        self._queue = queue = step_context.queue
        self.queue, self.cancels = queue.name, step_context.cancels
        self.gates = gates
        self.waits = waits
        self._settler = settler
        self._events = events
        self._worker_id = settings.worker_id
        self._max_in_flight = settings.max_in_flight
        self._failure: BaseException | None = None
        limits = ParkingLimits(2 * settings.max_in_flight, settings.max_in_flight_bytes // PARKED_SHARE)
        gates.bound(settings.max_in_flight, settings.max_in_flight_bytes // PARKED_SHARE)
        self.ready = ReadyRecords(Priorities(queue.priorities)) if queue.priorities else None
        self.lanes, wait_at_gates = self._make_lanes(limits)
        self.excuse = Excuse(queue)
        note_ended = None if queue.fairness is None else self._note_left
        settle_step = SettleStep(step_context, self.lanes, settler, self.excuse, note_ended=note_ended)
        self.pipe = Pipe(
            step_context,
            settle=settle_step.settle,
            settle_done=settle_step.settle_done,
            gates=gates,
            fail=self._fail,
            excuse=self.excuse,
            wait_at_gates=wait_at_gates,
        )
        parts = RunnerParts(step_context=step_context, settings=settings, pipe=self.pipe, ready=self.ready)
        kinds = make_runners(parts)
        self.fair = None if queue.fairness is None else FairRunners(kinds, queue.fairness)
        self.runners = RunnerRow(kinds) if self.fair is None else self.fair
        self.read_ahead = None if self.fair is None else self._make_read_ahead(self.fair, settings)
        self.watchdog = Watchdog(kinds, queue.name, on_progress=self._publish_progress)

    def _make_read_ahead(self, fair: FairRunners, settings: WorkerSettings) -> ReadAhead:
        return ReadAhead(self.lanes.lines, fair.loads, lambda: fair.ended, int(settings.max_in_flight * FLOODS_SHARE))

    def _make_lanes(self, limits: ParkingLimits) -> tuple[KeyLanes | StrictLanes, Callable[[Record], None] | None]:
        """The lanes of the queue, and what takes note of records that wait at the gates after all."""
        if self.ready is not None:
            lanes = PriorityLanes(self._make_ready, limits, self.ready.turns)
            return lanes, lanes.wait_at_gates
        note_held = None if self._queue.fairness is None else self._note_held
        return (StrictLanes if self._queue.ordering == "strict" else KeyLanes)(self._make_ready, limits), note_held

    def start(self) -> None:
        """Start all threads."""
        self._settler.start()
        self.gates.start(self._make_ready)
        self.waits.start(self._defer)
        self.watchdog.start()
        self.runners.start()

    @property
    def crashed(self) -> BaseException | None:
        """Why jobs cannot go on; None while they can."""
        parts = self.watchdog, self.runners, self.waits, self.gates
        return self._failure or next((part.crashed for part in parts if part.crashed is not None), None)

    @property
    def is_down_by_jobs(self) -> bool:
        """Whether the worker ends because of jobs: they hold its runners or event loop, or it failed at one of them."""
        held_by = self.watchdog.crashed, self.runners.crashed
        return self._failure is not None or any(isinstance(cause, BY_JOBS) for cause in held_by)

    def count_parked(self) -> int:
        """How many records in memory take nobody's room: what may not run now, and what floods have, up to a bound."""
        parked = self.lanes.parking.count + min(self.gates.count, self._max_in_flight)
        return parked if self.read_ahead is None else parked + self.read_ahead.loads_of_floods()

    def waiting_records(self) -> list[Record]:
        """The records in memory that wait: at gates, behind others of their lane, for a runner; called by any thread.

        Some of them may have begun by the time that this returns, but none before it was called.
        """
        return [*self.gates.waiting(), *self.lanes.parked_records(), *self.runners.waiting_records()]

    @property
    def waiting_for_turn(self) -> int:
        """How many records wait until their tenant has its turn, those that are aside for that included."""
        return 0 if self.fair is None else self.fair.waiting + self.lanes.lines.waiting

    def why_aside(self, lane_hash: int) -> Wait | None:
        """Why what is aside under a hash waits, if not behind its key."""
        if lane_hash in self.lanes.lines:
            return Wait(until_at_s=None, why=TENANTS_TURN)
        return self.gates.why_of(lane_hash)

    def is_draining(self) -> bool:
        """Whether fetching waits for full lanes that go on fast; not where it is to reach other tenants."""
        return self.read_ahead is None and self.lanes.parking.is_draining()

    @property
    def waiting_behind(self) -> int:
        """How many records wait behind others of their lane, but for those aside at a gate or for their tenant."""
        return max(0, self.lanes.waiting - self.gates.lanes_aside - self.lanes.lines.waiting)

    def begin(self, assignment: Assignment) -> None:
        """Begin with a restored assignment, before any of its records is taken."""
        self.runners.begin(assignment)
        self.gates.begin_assignment(assignment)

    def drop(self, assignments: Collection[Assignment]) -> list[Record]:
        """Take back the records of these assignments that have not begun."""
        parked = self.lanes.drop(assignments)
        ready = self.runners.drop(assignments) + self.gates.drop(assignments)
        for record in ready:
            self.lanes.release(record)
        if self.gates.lanes_aside:
            self.gates.forget_lanes(lambda lane_hash: not self.lanes.holds(lane_hash))
        return parked + ready

    def set_aside(self) -> list[Record]:
        """Put lanes aside that gates hold back beyond their bound; gives the records that have left the memory."""
        held = self.gates.set_aside(self.lanes.may_leave)
        return self.lanes.set_aside(held) if held else []

    def wake(self, room: int) -> None:
        """Take lanes back that gates hold back no more, so many at the most with those on their way."""
        room -= self.lanes.idle
        if room > 0:
            self.lanes.wake(self.gates.take_opened(room))

    def end_cancelled(self, *, aside_too: bool = False) -> int:
        """Let the jobs at gates go on for which a cancel stands, and end those that run; called from any thread.

        Args:
            aside_too: whether jobs that wait aside are to be looked at as well, which reads them again.

        Returns:
            How many run.
        """
        self.gates.release_cancelled(aside_too=aside_too)
        return self.watchdog.cancel(lambda run: self.cancels.of(run.record, self.queue))

    def excuse_failures(self) -> None:
        """From now on, a job whose run fails is interrupted, at no attempt's cost; called amid any line."""
        self.excuse.is_given = True

    def stop(self, settle_within: timedelta) -> None:
        """Cut short what still runs, and settle what has ended; the first is a part of the time for the second."""
        began_at_s, within_s = time.monotonic(), settle_within.total_seconds()
        self.pipe.is_stopping = True
        self.waits.stop()
        self.gates.stop()
        self.watchdog.stop()
        self.watchdog.interrupt_all("shutdown")
        self.runners.interrupt(INTERRUPT_WITHIN_S)
        self.runners.wait_ended(began_at_s + min(INTERRUPT_WITHIN_S, within_s))
        self._settler.stop(timedelta(seconds=max(0.0, began_at_s + within_s - time.monotonic())))

    def _make_ready(self, records: list[Record]) -> None:
        if self.gates:
            records = self.gates.admit(records)
        if records:
            self.runners.make_ready(records)

    def _note_held(self, record: Record) -> None:
        self._note_left((record,))

    def _note_left(self, records: Iterable[Record]) -> None:
        if self.fair is not None:
            self.fair.note_ended(records)

    def _defer(self, records: list[Record]) -> None:
        """Defer these without a runner: the schema store does not know their schemas."""
        known: list[Record] = []
        for record in records:
            self.pipe.carry(record, None, partial(self._note_known, known))
        if known:
            self._make_ready(known)

    def _note_known(self, known: list[Record], job: DecodedJob, _slot: None) -> Decided:
        """Note a record to be made ready again, whose schema is known by now."""
        known.append(job.record)
        return Decided(None)

    def _publish_progress(self, run: Run, latest: JobProgress) -> None:
        event = progress_event(run.record, latest, queue=self._queue, worker_id=self._worker_id, now=utc(time.time()))
        self._events.publish(event)

    def _fail(self, record: Record, error: BaseException) -> None:
        self._failure = error
        _LOGGER.critical(
            "the worker failed while it handled job %s (%s); it stops, and the job is delivered again. Report this "
            "with the traceback",
            wire_text(record.header(JOB_ID)),
            record,
            exc_info=error,
            extra=job_fields(record, self._queue.name),
        )
