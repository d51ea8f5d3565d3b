"""The schedules of a run: when each fires, and which of them an operator changes meanwhile."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from stoker.topology import cron, every
from stoker.topology.declaration.schedule import ScheduleOptions
from stoker.topology.declaration.timing import Timing

CLOCK_QUEUE: Final = "clock"
DECLARED: Final = "declared-pair"
"""The one that the application declares: a function makes two jobs of each instant."""
LATE: Final = "late"
"""Its jobs are enqueued up to a second late."""
ALONE: Final = "alone"
"""Leaves out instants while the job before has not ended."""
EVERY_S: Final = {DECLARED: 4, "each-1": 1, "each-2": 2, "each-3": 3, "berlin": 3, LATE: 2, "in-a-row": 2, ALONE: 1}
"""{name: seconds between its instants}, which are their multiples; of those that stay as they are."""
CHANGED_S: Final = {"changed-a": 1, "changed-b": 2, "changed-c": 1, "changed-d": 3}
"""The same for those that are changed, paused, resumed and triggered, as they begin."""
CHANGES_TO_S: Final = (1, 2, 3)
JITTER: Final = timedelta(seconds=1)
WORK_MS: Final = {ALONE: 400}
PATIENT: Final[ScheduleOptions] = {"missed": "all", "missed_limit": 10_000, "grace": timedelta(minutes=10)}
"""However long nobody fires, no instant is left out."""
_TRIPS_IN: Final = 4


def timing_of(name: str) -> Timing:
    """When a schedule fires."""
    seconds = (EVERY_S | CHANGED_S)[name]
    if name == "berlin":
        return cron(f"*/{seconds} * * * * *", tz="Europe/Berlin")
    return every(timedelta(seconds=seconds))


def options_of(name: str) -> ScheduleOptions:
    """Its options."""
    options: ScheduleOptions = {**PATIENT}
    if name == LATE:
        options["jitter"] = JITTER
    elif name == ALONE:
        options["overlap"] = "skip"
    elif name == "in-a-row":
        options["overlap"] = "wait"
    return options


def is_tripping(at: datetime | None) -> bool:
    """Whether the job of an instant fails at first."""
    return at is not None and int(at.timestamp()) % _TRIPS_IN == 0
