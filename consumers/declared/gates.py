"""`add_gates`: which gates a queue has. A new reason to wait is a gate in a file of its own, and a line here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ...topology import Queue
from ...topology.declaration.job_type import AnyJobType
from ..breakers.breaker_gate import BreakerGate
from ..breakers.breakers import NO_BREAKERS, Breakers
from ..gates.gate import Gate
from ..gates.gate_row import GateRow
from ..gates.pauses import Pauses
from ..limits.limits import LimitPeers, Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class GateParts:
    """The parts that gates are made of; a gate that lets records pass again calls `row.wait_set.release`.

    Attributes:
        peers: how other processes take part in the limits of the queue.
    """

    queue: Queue
    job_types: Mapping[str, AnyJobType]
    row: GateRow
    pauses: Pauses
    peers: LimitPeers
    breakers: Breakers = NO_BREAKERS


def add_gates(parts: GateParts) -> Limits:
    """Add the gates of a queue to its row, in the order in which they are asked; returns that of limits."""
    gates: list[Gate] = [parts.pauses]
    if parts.breakers.hold(parts.queue):
        gates.append(BreakerGate(parts.breakers, parts.row))
    limits = Limits(parts.row, parts.queue, parts.job_types, peers=parts.peers)
    parts.row.add([*gates, limits])
    return limits
