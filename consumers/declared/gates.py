"""`add_gates`: which gates a queue has. A new reason to wait is a gate in a file of its own, and a line here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ...topology import ClusterSettings, Pipeline, Queue
from ..breakers.breaker_gate import BreakerGate
from ..breakers.breakers import NO_BREAKERS, Breakers
from ..gates.gate import Gate
from ..gates.gate_row import GateRow
from ..gates.pauses import Pauses
from ..limits.assembly import make_reservations, make_shares
from ..limits.limits import LimitPeers, Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class GateParts:
    """The parts that gates are made of; a gate that opens calls `row.release`.

    Attributes:
        owns_first: whether this process owns the first partition of the queue.
    """

    pipeline: Pipeline
    queue: Queue
    cluster: ClusterSettings
    worker_id: str
    row: GateRow
    pauses: Pauses
    owns_first: Callable[[], bool]
    breakers: Breakers = NO_BREAKERS


def add_gates(parts: GateParts) -> Limits:
    """Add the gates of a queue to its row, in the order in which they are asked; returns that of limits."""
    gates: list[Gate] = [parts.pauses]
    if parts.breakers.hold(parts.queue):
        gates.append(BreakerGate(parts.breakers, parts.row))
    limits = _limits(parts)
    parts.row.add([*gates, limits])
    return limits


def _limits(parts: GateParts) -> Limits:
    shares = make_shares(
        parts.pipeline,
        parts.queue,
        parts.cluster,
        parts.worker_id,
        owns_first=parts.owns_first,
        on_crash=parts.row.note_crash,
    )
    reservations = make_reservations(
        parts.pipeline, parts.queue, parts.cluster, parts.worker_id, on_crash=parts.row.note_crash
    )
    peers = LimitPeers(
        givers=parts.pipeline.share_givers,
        is_reserving=reservations is not None,
        make_threads=[make for make in (shares, reservations) if make is not None],
    )
    return Limits(parts.row, parts.queue, parts.pipeline.job_types, peers=peers)
