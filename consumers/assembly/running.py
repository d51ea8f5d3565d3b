"""`RunningParts`: lanes, the pipe and runners, which take a record through its steps."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ...topology import Queue
from ..declared.lanes import make_lanes
from ..declared.runner_parts import MakeRunners, RunnerParts
from ..declared.runners import make_runners
from ..dispatch.dispatch import Dispatch
from ..dispatch.job_threads import JobThreads
from ..dispatch.pipe_failure import PipeFailure
from ..dispatch.schema_deferral import SchemaDeferral
from ..dispatch.unbegun_counts import UnbegunCounts
from ..dispatch.unbegun_records import UnbegunRecords
from ..fairness.fair_runners import FairRunners
from ..fairness.read_ahead import ReadAhead
from ..gates.gate_row import GateRow
from ..job.dependencies import make_dependencies
from ..job.heartbeats import JobProgress
from ..job.run import Run
from ..ordering.lanes import Lanes
from ..partitions.assignments import Assignments
from ..priorities.priority_lanes import PriorityLanes
from ..priorities.ready import ReadyRecords
from ..records.record import Record
from ..runners.kinds import RunnerRow, Runners
from ..runners.watchdog import Watchdog
from ..settings import WorkerSettings
from ..settling.event_publisher import EventPublisher
from ..settling.events import progress_event
from ..settling.excuse import Excuse
from ..settling.settle import Settler
from ..settling.writes import utc
from ..sources.priorities import Priorities
from ..steps.pipe import Pipe, SettleStep
from ..steps.schema_waits import SchemaWaits
from ..steps.steps import StepContext
from ..tracing.run_spans import RunSpans
from .gating import GatingParts
from .queue_context import QueueContext
from .settling import SettlingParts

HEAVY_RATIO: Final = 0.75
"""Tenants with very many jobs have so much of the bound on jobs in memory once more for themselves, together."""

MakeReadAhead = Callable[[Lanes, FairRunners, WorkerSettings], ReadAhead]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningParts:
    """The parts between the poll thread and the settler.

    Attributes:
        dispatch: gives ready records to the gates, and then to the runners.
        lanes: take records from the poll thread, and decide which of each key's is ready.
        gates: hold back what may not start now.
        ready: the ready records by their priorities; None where the queue declares none.
        excuse: makes failed runs cost no attempt, as after a terminal's Ctrl+C.
        pipe: the way of one record, through which all runners take theirs.
        failure: an error of the worker's own on that way.
        runners: all kinds of them.
        fair: the same, where tenants share them; else None.
        read_ahead: passes heavy tenants; None where tenants share nothing.
        watchdog: checks all runs.
        deferral: takes records through the pipe whose schemas are unknown.
        unbegun, counts: the records that have not begun, and how many they are.
        threads: start and stop all of these.
    """

    dispatch: Dispatch
    lanes: Lanes
    gates: GateRow
    ready: ReadyRecords | None
    excuse: Excuse
    pipe: Pipe
    failure: PipeFailure
    runners: RunnerRow
    fair: FairRunners | None
    read_ahead: ReadAhead | None
    watchdog: Watchdog
    deferral: SchemaDeferral
    unbegun: UnbegunRecords
    counts: UnbegunCounts
    threads: JobThreads


def make_step_context(
    context: QueueContext,
    assignments: Assignments,
    settling: SettlingParts,
    gating: GatingParts,
    spans: RunSpans | None,
) -> StepContext:
    """Name what the steps of a record work with; `spans` are those of the queue's runs, where these are traced."""
    return StepContext(
        queue=context.queue,
        job_types=context.pipeline.job_types,
        decoder=gating.decoder,
        ledgers=assignments.ledgers.present,
        unique=assignments.ledgers.find_unique,
        instruments=context.instruments,
        cancels=context.orders.cancels,
        gates=gating.gates,
        reschedules=context.orders.reschedules,
        dependencies=make_dependencies(context.watch.breakers),
        guards=context.watch.guards,
        note_begun=settling.late_notes.note if settling.late_notes.is_declared else None,
        note_held=gating.waits.note_held,
        spans=spans,
    )


def make_read_ahead(lanes: Lanes, fair: FairRunners, settings: WorkerSettings) -> ReadAhead:
    """Make what passes heavy tenants."""
    return ReadAhead(lanes.lines, fair.loads, lambda: fair.ended, int(settings.max_in_flight * HEAVY_RATIO))


def make_running(
    step_context: StepContext,
    settler: Settler,
    events: EventPublisher,
    settings: WorkerSettings,
    *,
    waits: SchemaWaits,
    make_runners: MakeRunners = make_runners,
    make_read_ahead: MakeReadAhead = make_read_ahead,
) -> RunningParts:
    """Make them, in the order of a record's way; their threads do not run yet."""
    queue, gates = step_context.queue, step_context.gates
    dispatch, failure, excuse = Dispatch(gates), PipeFailure(queue.name), Excuse(queue)
    ready = ReadyRecords(Priorities(queue.priorities)) if queue.priorities else None
    lanes = make_lanes(queue, settings, dispatch.make_ready, ready)
    pipe = _make_pipe(step_context, lanes, settler, dispatch, failure=failure, excuse=excuse)
    kinds = make_runners(RunnerParts(step_context=step_context, settings=settings, pipe=pipe, ready=ready))
    fair = None if queue.fairness is None else FairRunners(kinds, queue.fairness)
    runners = RunnerRow(kinds) if fair is None else fair
    dispatch.serve(runners)
    ahead = None if fair is None else make_read_ahead(lanes, fair, settings)
    watchdog = _make_watchdog(kinds, queue, events, settings.worker_id)
    deferral = SchemaDeferral(waits, pipe, dispatch.make_ready)
    return RunningParts(
        dispatch=dispatch,
        lanes=lanes,
        gates=gates,
        ready=ready,
        excuse=excuse,
        pipe=pipe,
        failure=failure,
        runners=runners,
        fair=fair,
        read_ahead=ahead,
        watchdog=watchdog,
        deferral=deferral,
        unbegun=UnbegunRecords(lanes, gates, runners),
        counts=UnbegunCounts(lanes, gates.view, fair, ahead, max_in_flight=settings.max_in_flight),
        threads=JobThreads(dispatch, gates, deferral, runners=runners, watchdog=watchdog, pipe=pipe, failure=failure),
    )


def _make_pipe(
    step_context: StepContext,
    lanes: Lanes,
    settler: Settler,
    dispatch: Dispatch,
    *,
    failure: PipeFailure,
    excuse: Excuse,
) -> Pipe:
    note_left = None if step_context.queue.fairness is None else dispatch.note_left
    settle_step = SettleStep(step_context, lanes, settler, excuse, note_left=note_left)
    return Pipe(
        step_context,
        settle=settle_step.settle,
        settle_done=settle_step.settle_done,
        fail=failure.note,
        excuse=excuse,
        wait_at_gates=_find_wait_at_gates(step_context.queue, lanes, dispatch),
    )


def _find_wait_at_gates(queue: Queue, lanes: Lanes, dispatch: Dispatch) -> Callable[[Record], None] | None:
    """Find what takes note of records that wait at the gates after all."""
    if isinstance(lanes, PriorityLanes):
        return lanes.wait_at_gates
    return None if queue.fairness is None else dispatch.note_one_left


def _make_watchdog(kinds: Sequence[Runners[Any]], queue: Queue, events: EventPublisher, worker_id: str) -> Watchdog:
    def publish_progress(run: Run, latest: JobProgress) -> None:
        event = progress_event(run.record, latest, queue=queue, worker_id=worker_id, now=utc(time.time()))
        events.publish(event)

    return Watchdog(kinds, queue.name, on_progress=publish_progress)
