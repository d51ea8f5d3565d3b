"""`make_lanes`: which lanes a queue has, by its priorities and its ordering."""

from __future__ import annotations

from typing import Final

from ...topology import Queue
from ..ordering.key_lanes import KeyLanes
from ..ordering.lanes import Lanes, MakeReady
from ..ordering.parking import ParkingLimits
from ..ordering.strict_lanes import StrictLanes
from ..priorities.priority_lanes import PriorityLanes
from ..priorities.ready import ReadyRecords
from ..settings import WorkerSettings

PARKED_PART: Final = 4
"""Parked jobs in memory take at most one in so many of the bytes that all jobs in memory may take."""


def make_lanes(queue: Queue, settings: WorkerSettings, make_ready: MakeReady, ready: ReadyRecords | None) -> Lanes:
    """Make the lanes; `ready` are the ready records by their priorities, where the queue declares some."""
    limits = ParkingLimits(2 * settings.max_in_flight, settings.max_in_flight_bytes // PARKED_PART)
    if ready is not None:
        return PriorityLanes(make_ready, limits, ready.holds)
    return (StrictLanes if queue.ordering == "strict" else KeyLanes)(make_ready, limits)
