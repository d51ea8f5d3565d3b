"""`Heirs`: which jobs have come whose turn is later, and take over from those before them that they replace. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from ...topology.declaration.unique import Unique
from ...topology.wire import headers as wire
from ..records.record import Record
from .arrival import NEVER_MS, Arrival, Identity, instant_ms
from .holder import Holder, HolderPhase


@dataclass(frozen=True, slots=True)
class Heir:
    """The job that has taken the place of others before its own turn.

    Attributes:
        arrival: when it came.
        due_ms: the due time that it takes over.
        first_ms: when the first of those came.
    """

    arrival: Arrival
    due_ms: int | None
    first_ms: int


class Heirs:
    """The last job that has been read of each identity, and the heir of each; the lock of `Holders` guards them."""

    def __init__(self) -> None:
        self._latest: dict[Identity, Arrival] = {}
        self._heirs: dict[Identity, Heir] = {}

    def note_arrival(self, identity: Identity, arrival: Arrival) -> None:
        """Note a job that has been read and is not settled."""
        latest = self._latest.get(identity)
        if latest is None or latest < arrival:
            self._latest[identity] = arrival

    def note_turn(self, identity: Identity, own: Arrival) -> None:
        """Note that a job's turn has come: it is no later one any more."""
        latest = self._latest.get(identity)
        if latest is not None and latest <= own:
            del self._latest[identity]

    def latest(self, identity: Identity) -> Arrival | None:
        """When the last job came that has been read, and whose turn is still to come."""
        return self._latest.get(identity)

    def appoint(
        self, record: Record, rule: Unique, identity: Identity, own: Arrival, holder: Holder | None
    ) -> Arrival | None:
        """Have a later job take over what the one has whose turn has come, and what that has taken over itself.

        Returns:
            When the later one came; None where none has been read, or none is to take over.
        """
        later = self._latest.get(identity)
        if later is None or not rule.replaces:
            return None
        if holder is not None and holder.arrival == own and holder.is_in_the_way_of(later, rule):
            return None
        due_ms, first_ms = self._taken_over(identity, own, holder)
        own_due_ms = instant_ms(record.header(wire.DUE), NEVER_MS)
        self._heirs[identity] = Heir(later, due_ms if own_due_ms == NEVER_MS else own_due_ms, first_ms)
        return later

    def _taken_over(self, identity: Identity, own: Arrival, holder: Holder | None) -> tuple[int | None, int]:
        """The due time that a job has taken over, and when the first job came that it puts off."""
        heir = self._heirs.get(identity)
        if heir is not None:
            return heir.due_ms, min(own.at_ms, heir.first_ms)
        if holder is not None and holder.phase is HolderPhase.WAITING:
            return holder.due_ms, min(own.at_ms, holder.put_off_since(own))
        return None, own.at_ms

    def is_heir(self, identity: Identity, arrival: Arrival) -> bool:
        """Whether this is the heir of an identity."""
        heir = self._heirs.get(identity)
        return heir is not None and heir.arrival == arrival

    def take(self, identity: Identity) -> Heir | None:
        """The heir of an identity, which is held now; returned once."""
        return self._heirs.pop(identity, None)

    def note_outcome(self, identity: Identity, own: Arrival) -> None:
        """Note that a job does not wait for its turn any more; it may have ended without."""
        self.note_turn(identity, own)
        if self.is_heir(identity, own):
            del self._heirs[identity]
