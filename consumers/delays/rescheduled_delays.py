"""`RescheduledDelays`: has delayed records read again whose jobs have another time by now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ..partitions.assignments import Assignments
from ..progress.assignment import Place
from ..records.record import RecordAt
from ..standing_orders.reschedules import RescheduledJob
from .calendar import Calendar
from .look_pace import LookPace

JOBS_A_LOOK: Final = 20
"""Jobs that one look takes, at most; one whose place is not known takes some 13 ms of a look through full memory."""


class RescheduledDelays:
    """The rescheduled records of one queue; owned by the poll thread. One that comes later has the new time."""

    def __init__(self, calendar: Calendar, assignments: Assignments) -> None:
        self._calendar = calendar
        self._assignments = assignments
        self._pace = LookPace()

    def bring_forward(self) -> None:
        """Have the records read again whose jobs were rescheduled; what is left comes in later turns."""
        rescheduled = self._calendar.rescheduled
        if rescheduled and self._pace.is_rested:
            with self._pace.look():
                self._look_again([rescheduled.popleft() for _ in range(min(len(rescheduled), JOBS_A_LOOK))])

    def _look_again(self, rescheduled: Sequence[RescheduledJob]) -> None:
        places = {job_id: self._place_at(at) for job_id, at in rescheduled}
        found = self._calendar.look_again({place for place in places.values() if place is not None})
        lost = [job_id for job_id, place in places.items() if place not in found]
        if lost:  # the operator has not found them, or they have moved on meanwhile
            self._calendar.look_for(lost)

    def _place_at(self, at: RecordAt | None) -> Place | None:
        assignment = None if at is None else self._assignments.find_running(*at[:2])
        return None if at is None or assignment is None else (assignment, at[2])
