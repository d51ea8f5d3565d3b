"""`UnbegunRecords`: the records in memory that have not begun: at gates, behind others of their lane, for a runner."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from ..gates.gate import PlainWhy, Wait
from ..gates.gate_row import GateRow
from ..ordering.lanes import Lanes
from ..progress.assignment import Assignment
from ..records.record import Record
from ..runners.kinds import RunnerRow

TENANTS_TURN: Final = PlainWhy("fair", "its tenant's turn at the runners comes")


class UnbegunRecords:
    """Called by the poll thread, but for `waiting` and `why_aside`, which any thread may call."""

    def __init__(self, lanes: Lanes, gates: GateRow, runners: RunnerRow) -> None:
        self._lanes, self._gates, self._runners = lanes, gates, runners

    def begin(self, assignment: Assignment) -> None:
        """Begin with a restored assignment, before any of its records is taken."""
        self._runners.begin(assignment)
        self._gates.begin_assignment(assignment)

    def drop(self, assignments: Collection[Assignment]) -> list[Record]:
        """Take back the records of these assignments that have not begun."""
        parked = self._lanes.drop(assignments)
        ready = self._runners.drop(assignments) + self._gates.wait_set.drop(assignments)
        for record in ready:
            self._lanes.free(record)
        if self._gates.aside:
            self._gates.aside.forget(lambda lane_hash: not self._lanes.holds(lane_hash))
        return parked + ready

    # ---- lanes that leave the memory as a whole

    def set_aside(self) -> list[Record]:
        """Put lanes aside that gates hold back beyond their bound; returns the records that have left the memory."""
        held = self._gates.aside.set_aside(self._lanes.may_leave)
        return self._lanes.set_aside(held) if held else []

    @property
    def has_released(self) -> bool:
        """Whether lanes are to be taken back that gates hold back no more."""
        return self._gates.aside.has_released

    def wake(self, room: int) -> None:
        """Take lanes back that gates hold back no more, so many at the most with those on their way."""
        room -= self._lanes.idle
        if room > 0:
            self._lanes.wake(self._gates.aside.take_released(room))

    # ---- for those who look

    def waiting(self) -> list[Record]:
        """The records; some of them may have begun by the time that this returns, but none before it was called."""
        return [*self._gates.view.waiting(), *self._lanes.parked_records(), *self._runners.waiting_records()]

    def why_aside(self, lane_hash: int) -> Wait | None:
        """Why what is aside under a hash waits, if not behind its key."""
        if lane_hash in self._lanes.lines:
            return Wait(until_at_s=None, why=TENANTS_TURN)
        return self._gates.view.why_of(lane_hash)
