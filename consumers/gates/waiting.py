"""`Waiting`: the records and lanes that wait at the gates of one queue, and the lock that guards them."""

from __future__ import annotations

from threading import Lock

from ..records.record import Record
from .gate import Wait
from .lanes_aside import LanesAside
from .leaving_records import LeavingRecords, MemoryBound
from .waiting_records import WaitingRecords


class Waiting:
    """Only data: `WaitSet`, `AsideAtGates` and `WaitingView` share it, since a release concerns both kinds at once.

    Attributes:
        lock: guards all of it, but for reads of single attributes. A thread that holds it asks no gate, and makes no
            record ready.
        records: those in memory.
        leaving: which of them are to leave it.
        lanes: those that have left it.
        is_stopping: whether nothing is to wait any more.
    """

    def __init__(self, bound: MemoryBound) -> None:
        self.lock = Lock()
        self.records = WaitingRecords()
        self.leaving = LeavingRecords(self.records, bound)
        self.lanes = LanesAside()
        self.is_stopping = False

    def add(self, record: Record, wait: Wait) -> bool:
        """Have a record wait in memory; False where its partition is given away, or the worker stops."""
        if self.is_stopping or not record.assignment.is_current:
            return False
        self.records.add(record, wait)
        return True

    def stop(self) -> None:
        """Drop the waiting records, which are delivered again, and take no more."""
        self.is_stopping = True
        self.records.clear()
        self.leaving.clear()
        self.lanes.clear()
