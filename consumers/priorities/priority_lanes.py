"""`PriorityLanes`: lanes of a queue that declares priorities. A key has one at each, and one of all runs at a time."""

from __future__ import annotations

from collections.abc import Iterable

from ..ordering.key_lanes import KeyLanes
from ..ordering.lanes import MakeReady
from ..ordering.parking import ParkingLimits
from ..records.record import Record
from .key_holds import KeyHolds


class PriorityLanes(KeyLanes):
    """As `KeyLanes`; where a record ends, those that were held back for its key are ready again."""

    def __init__(self, make_ready: MakeReady, limits: ParkingLimits, holds: KeyHolds) -> None:
        super().__init__(make_ready, limits)
        self._holds = holds

    def free_all(self, records: Iterable[Record]) -> None:
        """End the holds of these as well."""
        ended = list(records)
        freed = self._holds.end(ended)
        super().free_all(ended)
        if freed:
            self._make_ready(freed)

    def parked_records(self) -> list[Record]:
        """The records as well that wait for their key, since a job of another priority has it."""
        return super().parked_records() + self._holds.held()

    def wait_at_gates(self, record: Record) -> None:
        """Let others of the key go on while a record waits at the gates that a runner had taken."""
        freed = self._holds.give_back(record)
        if freed:
            self._make_ready(freed)
