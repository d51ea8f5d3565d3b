"""`TakingBack`: drops what has not begun of partitions that leave; it is delivered again to the next owner."""

from __future__ import annotations

from ..backlog.rereader import Rereader
from ..carrying.carrier import Carrier
from ..carrying.restored_jobs import RestoredJobs
from ..delays.calendar import Calendar
from ..dispatch.unbegun_records import UnbegunRecords
from ..in_flight.memory_bounds import MemoryBounds
from ..progress.assignment import Assignment


class TakingBack:
    """The parts that hold records which have not begun; called by the poll thread."""

    def __init__(
        self,
        unbegun: UnbegunRecords,
        memory_bounds: MemoryBounds,
        calendar: Calendar,
        *,
        rereader: Rereader,
        carrier: Carrier,
        restored: RestoredJobs,
    ) -> None:
        self._unbegun = unbegun
        self._memory_bounds = memory_bounds
        self._calendar = calendar
        self._rereader = rereader
        self._carrier = carrier
        self._restored = restored

    def drop(self, leaving: list[Assignment]) -> None:
        """Drop the records of these assignments that have not begun."""
        self._rereader.drop(leaving)
        self._restored.drop(leaving)
        self._carrier.drop(leaving)
        self._calendar.drop(leaving)
        self._memory_bounds.end(self._unbegun.drop(leaving))
