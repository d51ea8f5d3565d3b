"""`Housekeeping`: what the poll thread does once a second for partitions, rights, and those who look from outside."""

from __future__ import annotations

import time
from typing import Final

from ..group.rights_watch import RightsWatch
from ..inspection.reports import Reports
from ..inspection.unfinished import UnfinishedCount
from ..settling.event_publisher import EventPublisher
from ..settling.settle import Settler
from .look_ahead import LookAhead
from .owned_partitions import OwnedPartitions

INTERVAL_S: Final = 1.0


class Housekeeping:
    """Owned by the poll thread; `look_ahead` has an interval of its own, and is None where tenants share nothing."""

    def __init__(
        self,
        partitions: OwnedPartitions,
        *,
        settler: Settler,
        rights: RightsWatch,
        reports: Reports,
        events: EventPublisher,
        unfinished: UnfinishedCount,
        look_ahead: LookAhead | None,
    ) -> None:
        self._partitions = partitions
        self._settler = settler
        self._rights = rights
        self._reports = reports
        self._events = events
        self._unfinished = unfinished
        self._look_ahead = look_ahead
        self._next_at_s = 0.0

    def turn(self) -> None:
        """Do what it is time for."""
        now_s = time.monotonic()
        if self._look_ahead is not None:
            self._look_ahead.turn(now_s)
        if now_s >= self._next_at_s:
            self._next_at_s = now_s + INTERVAL_S
            self._partitions.do_housekeeping(now_s)
            if self._settler.stranded:
                self._rights.alarm()
            self._reports.publish(now_s)
            self._events.poll()
            self._unfinished.note()
