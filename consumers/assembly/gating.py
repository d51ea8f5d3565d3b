"""`GatingParts`: the gates of one queue, with those that orders change, and what lets records wait for schemas."""

from __future__ import annotations

from dataclasses import dataclass

from ...schemas import Decoder
from ..declared.gates import GateParts, add_gates
from ..declared.lanes import PARKED_PART
from ..gates.gate_row import GateRow
from ..gates.leaving_records import MemoryBound
from ..gates.pauses import Pauses
from ..limits.limits import Limits
from ..partitions.assignments import Assignments
from ..steps.schema_waits import SchemaWaits
from .limit_peers import make_limit_peers
from .queue_context import QueueContext


@dataclass(frozen=True, slots=True, kw_only=True)
class GatingParts:
    """`gates` is the row of all of them; orders change `pauses` and `limits`; `decoder` has records wait by `waits`."""

    gates: GateRow
    pauses: Pauses
    limits: Limits
    waits: SchemaWaits
    decoder: Decoder


def make_gating(context: QueueContext, assignments: Assignments) -> GatingParts:
    """Make them; their threads do not run yet."""
    queue, cancels = context.queue, context.orders.cancels
    settings = context.settings
    gates = GateRow(
        is_cancelled=lambda record: cancels.has(record, queue.name),
        bound=MemoryBound(settings.max_in_flight, settings.max_in_flight_bytes // PARKED_PART),
    )
    pauses = Pauses(gates)
    limits = add_gates(
        GateParts(
            queue=queue,
            job_types=context.pipeline.job_types,
            row=gates,
            pauses=pauses,
            peers=make_limit_peers(
                context, owns_first=lambda: assignments.owns_first_partition, on_crash=gates.note_crash
            ),
            breakers=context.watch.breakers,
        )
    )
    waits = SchemaWaits(context.store, queue.name, gates.wait_set, gates.view)
    return GatingParts(
        gates=gates, pauses=pauses, limits=limits, waits=waits, decoder=Decoder(context.store, learn=waits.learn)
    )
