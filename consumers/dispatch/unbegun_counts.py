"""`UnbegunCounts`: how many records have not begun, of those that count against no room and of those that wait."""

from __future__ import annotations

from ..fairness.fair_runners import FairRunners
from ..fairness.read_ahead import ReadAhead
from ..gates.waiting_view import WaitingView
from ..ordering.lanes import Lanes


class UnbegunCounts:
    """The counts of one queue; asked by any thread.

    Args:
        fair: the runners, where tenants share them.
        ahead: passes heavy tenants.
        max_in_flight: the bound on the jobs that are taken and not settled; so many at gates take no room.
    """

    def __init__(
        self,
        lanes: Lanes,
        at_gates: WaitingView,
        fair: FairRunners | None,
        ahead: ReadAhead | None,
        *,
        max_in_flight: int,
    ) -> None:
        self._lanes, self._at_gates = lanes, at_gates
        self._fair, self._ahead = fair, ahead
        self._max_in_flight = max_in_flight

    def count_taking_no_room(self) -> int:
        """How many records in memory take no room: those that are parked, at gates, or of heavy tenants.

        The last two kinds count up to a bound of their own each; beyond it they take room.
        """
        count = self._lanes.parking.count + min(self._at_gates.count, self._max_in_flight)
        return count if self._ahead is None else count + self._ahead.loads_of_heavy_tenants()

    def is_draining(self) -> bool:
        """Whether fetching waits for full lanes that go on fast; not where it is to reach other tenants."""
        return self._ahead is None and self._lanes.parking.is_draining()

    @property
    def waiting_for_turn(self) -> int:
        """How many records of heavy tenants wait, those that are aside for that included."""
        return 0 if self._fair is None else self._fair.waiting + self._lanes.lines.waiting

    @property
    def waiting_behind(self) -> int:
        """How many records wait behind others of their lane, but for those aside at a gate or for their tenant."""
        return max(0, self._lanes.waiting - self._at_gates.count_aside - self._lanes.lines.waiting)
