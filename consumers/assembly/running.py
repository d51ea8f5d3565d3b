"""`RunningParts`: lanes, gates and runners, which take a record through its steps."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from ...schemas import Decoder
from ..declared.gates import GateParts, add_gates
from ..declared.runners import make_runners
from ..dispatch.dispatch import Dispatch
from ..followers.late_jobs import LateJobs
from ..followers.late_notes import LateNotes
from ..gates.gate_row import GateRow
from ..gates.pauses import Pauses
from ..job.dependencies import make_dependencies
from ..kafka.clients import settling_producer
from ..limits.limits import Limits
from ..partitions.assignments import Assignments
from ..steps.schema_waits import SchemaWaits
from ..steps.steps import StepContext
from ..tracing.run_spans import RunSpans
from .context import QueueContext
from .limit_peers import make_limit_peers
from .settling import SettlingParts


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningParts:
    """`dispatch` takes records from the poll thread; `pauses` and `limits` are the gates that orders change."""

    pauses: Pauses
    limits: Limits
    decoder: Decoder
    dispatch: Dispatch
    late: LateJobs


def make_running(
    context: QueueContext, assignments: Assignments, settling: SettlingParts, spans: RunSpans | None
) -> RunningParts:
    """Make them; `spans` are those of the queue's runs, where these are traced."""
    queue, cancels = context.queue, context.orders.cancels
    gates = GateRow(is_cancelled=lambda record: cancels.has(record, queue.name))
    pauses = Pauses(gates)
    limits = _add_gates(context, assignments, gates, pauses)
    waits = SchemaWaits(context.store, queue.name, gates)
    decoder = Decoder(context.store, learn=waits.learn)
    late = LateNotes(context.pipeline, queue)
    step_context = StepContext(
        queue=queue,
        job_types=context.pipeline.job_types,
        decoder=decoder,
        ledgers=assignments.ledgers,
        unique=assignments.find_unique,
        instruments=context.instruments,
        cancels=cancels,
        gates=gates,
        reschedules=context.orders.reschedules,
        dependencies=make_dependencies(context.watch.breakers),
        guards=context.watch.guards,
        note_begun=late.note if late.is_declared else None,
        spans=spans,
    )
    dispatch = Dispatch(
        step_context,
        settling.settler,
        settling.events,
        context.settings,
        gates=gates,
        waits=waits,
        make_runners=make_runners,
    )
    make_late_producer = partial(settling_producer, context.cluster, f"{context.worker_id}-late")
    return RunningParts(
        pauses=pauses,
        limits=limits,
        decoder=decoder,
        dispatch=dispatch,
        late=LateJobs(queue, late, settling.stories, make_late_producer, dispatch.waiting_records),
    )


def _add_gates(context: QueueContext, assignments: Assignments, gates: GateRow, pauses: Pauses) -> Limits:
    """Add the gates that the queue has; gives that of limits."""
    return add_gates(
        GateParts(
            queue=context.queue,
            job_types=context.pipeline.job_types,
            row=gates,
            pauses=pauses,
            peers=make_limit_peers(
                context, owns_first=lambda: 0 in assignments.main_partitions, on_crash=gates.note_crash
            ),
            breakers=context.watch.breakers,
        )
    )
