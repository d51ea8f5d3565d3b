"""`make_gates`: which gates a queue has. A new reason to wait is a gate in a folder of its own, and a line here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..topology import AnyJobType, ClusterSettings, Queue
from .breakers.breaker_gate import BreakerGate
from .breakers.breakers import NO_BREAKERS, Breakers
from .gates.gate import Gate
from .gates.gate_row import GateRow
from .gates.pauses import Pauses
from .limits.limits import Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class GateParts:
    """The parts that gates are made of; a gate that opens calls `row.release`."""

    queue: Queue
    job_types: Mapping[str, AnyJobType]
    cluster: ClusterSettings
    worker_id: str
    row: GateRow
    pauses: Pauses
    breakers: Breakers = NO_BREAKERS


def make_gates(parts: GateParts) -> Sequence[Gate]:
    """The gates of a queue, in the order in which they are asked."""
    gates: list[Gate] = [parts.pauses]
    if parts.breakers.hold(parts.queue):
        gates.append(BreakerGate(parts.breakers, parts.row))
    return [*gates, Limits(parts.row, parts.queue, parts.job_types)]
