"""`InstantCounts`: what has become of the instants of a queue's schedules, in plain numbers."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from ...schemas.own_records.schedule_records import ScheduleRecord
from .pending import Pending, is_missed


class InstantCounts:
    """Written by the thread of schedules, read by any.

    Attributes:
        fired: within the grace.
        missed_fired: fired after it, as the schedule's `missed` says.
        missed_left_out: left out after it, as the schedule's `missed` says.
        overlap: left out, since the job before had not ended.
    """

    def __init__(self) -> None:
        self.fired = self.missed_fired = self.missed_left_out = self.overlap = 0

    def note(self, schedule: ScheduleRecord, pending: Pending, instants: Collection[datetime], now: datetime) -> None:
        """Count what was decided about a schedule.

        Args:
            instants: those of `pending.fire` whose jobs were enqueued.
        """
        missed = sum(is_missed(schedule, at, now) for at in instants)
        self.fired += len(instants) - missed
        self.missed_fired += missed
        self.missed_left_out += pending.left_out
        self.overlap += len(pending.fire) - len(instants)
