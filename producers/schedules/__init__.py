"""Schedules: jobs that are enqueued again and again, made and changed at run time."""

from ...schemas.own_records.schedule_records import LastFiring, ScheduleRecord
from .errors import (
    NoSuchSchedule,
    ScheduleError,
    ScheduleExists,
    ScheduleRefused,
    SchedulesNotReady,
    ScheduleUnconfirmed,
)
from .schedules import ScheduleChanges, Schedules
from .view import ScheduleView

__all__ = [
    "LastFiring",
    "NoSuchSchedule",
    "ScheduleChanges",
    "ScheduleError",
    "ScheduleExists",
    "ScheduleRecord",
    "ScheduleRefused",
    "ScheduleUnconfirmed",
    "ScheduleView",
    "Schedules",
    "SchedulesNotReady",
]
