"""`Handover`: gives records to their lanes, and counts them while they are in memory."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ..in_flight.memory_bounds import MemoryBounds
from ..instruments.instruments import NO_INSTRUMENTS, Instruments
from ..ordering.lanes import Lanes
from ..records.record import Record


class Handover:
    """Between the intake and the lanes of one queue; owned by the poll thread."""

    def __init__(self, lanes: Lanes, memory_bounds: MemoryBounds, instruments: Instruments = NO_INSTRUMENTS) -> None:
        self._lanes = lanes
        self._memory_bounds = memory_bounds
        self._instruments = instruments

    def start(self, records: Sequence[Record]) -> None:
        """Give records to their lanes, if there are any."""
        if records:
            self._count_in(records)
            aside = self._lanes.add(records)
            if aside:
                self._memory_bounds.end(aside)

    def start_counted(self, records: Sequence[Record]) -> None:
        """Give records that are counted already to their lanes, if there are any."""
        if records:
            self._memory_bounds.end(self._lanes.add(records))

    def bring_back(self, wanted: list[Record], looked_at: list[Record]) -> None:
        """Give records that were read again back to the lanes that want them.

        Args:
            looked_at: the records that were read for a look only. A lane may want one of them by now.
        """
        if wanted:
            self._count_in(wanted)
        if looked_at:
            self._memory_bounds.begin(looked_at)
        if wanted or looked_at:
            self._memory_bounds.end(self._lanes.readd(wanted + looked_at))

    def exchange(self, copy: Record, left: Collection[Record]) -> None:
        """Count in a copy that waits in memory, and count out the records that it replaces."""
        self._memory_bounds.begin([copy])
        self._memory_bounds.end(left)

    def leave(self, records: Collection[Record]) -> None:
        """Count out records that have left the memory, if there are any."""
        if records:
            self._memory_bounds.end(records)

    def _count_in(self, records: Sequence[Record]) -> None:
        """Count in records that go to the lanes; at least one."""
        self._memory_bounds.begin(records)
        if self._instruments:
            self._instruments.taken(records)
