"""`RescheduledDelays`: has delayed records read again whose jobs have another time by now."""

from __future__ import annotations

from ..partitions.assignments import Assignments
from ..polling.calendar import Calendar


class RescheduledDelays:
    """The rescheduled records of one queue; owned by the poll thread. One that comes later has the new time."""

    def __init__(self, calendar: Calendar, assignments: Assignments) -> None:
        self._calendar = calendar
        self._assignments = assignments

    def bring_forward(self) -> None:
        """Have the records read again that were rescheduled since the last call."""
        while self._calendar.moved:
            job_id, at = self._calendar.moved.popleft()
            assignment = None if at is None else self._assignments.find_running(*at[:2])
            if at is None or assignment is None or not self._calendar.look_again(assignment, at[2]):
                self._calendar.look_for(job_id)  # the operator has not found it, or it has moved on meanwhile
