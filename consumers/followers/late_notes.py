"""`LateNotes`: the late jobs of one queue's worker, from where they are found to where followers are made of them.

Runners note each record that begins, where lateness is declared; the thread of `LateJobs` takes what was noted.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from ...topology import Pipeline, Queue
from ...topology.wire.headers import JOB_TYPE
from ..records.record import Record
from .stories import since_of
from .young_jobs import YoungJobs

MOST_WAITING: Final = 10_000
"""Followers that wait to be written, at most; of further late jobs the worker logs how many have none."""

Late = tuple[Record, datetime]


class LateNotes:
    """The late jobs that were found. `note` is called by runners, all else by the thread of `LateJobs`.

    Attributes:
        is_declared: whether the queue or a job type of it has `on_late`; else nothing here costs anything.
        waiting: late jobs that have no follower yet.
        wake: set when there is something to do.
    """

    def __init__(self, pipeline: Pipeline, queue: Queue, clock: Callable[[], float] = time.time) -> None:
        self._late_s = {name.encode(): one.late_s for name, one in pipeline.job_types.items()}
        self._late_s_of_others = queue.late_s
        self._clock = clock
        own = [queue.late_s, *(one.late_s for one in pipeline.job_types.values() if one.queue is queue)]
        self.is_declared = any(late_s is not None for late_s in own)
        bounds_s = [late_s for late_s in (queue.late_s, *self._late_s.values()) if late_s is not None]
        self._young = YoungJobs(min(bounds_s, default=0.0))
        self.waiting: deque[Late] = deque()
        self._lost = 0
        self._last_lost: Record | None = None
        self.wake = threading.Event()

    def note(self, record: Record) -> None:
        """Look whether the job of a record that begins is late; never blocks."""
        now_s = self._clock()
        if not self._is_late(record, now_s):
            return
        if len(self.waiting) >= MOST_WAITING:
            self._lost, self._last_lost = self._lost + 1, record
            return
        self._add(record, now_s)
        self.wake.set()

    def take_lost(self) -> tuple[int, Record | None]:
        """How many late jobs have found no room since this was called, and the last of them."""
        lost, self._lost = (self._lost, self._last_lost), 0
        self._last_lost = None
        return lost

    def note_waiting(self, record: Record, now_s: float) -> bool:
        """Note a record that waits, if it is late; returns whether it was. Half of the room is for what begins."""
        if len(self.waiting) >= MOST_WAITING // 2 or not self._is_late(record, now_s):
            return False
        self._add(record, now_s)
        return True

    def _add(self, record: Record, now_s: float) -> None:
        self.waiting.append((record, datetime.fromtimestamp(now_s, UTC)))

    def _is_late(self, record: Record, now_s: float) -> bool:
        if self._young.has(record, now_s):
            return False
        late_s = self._late_s.get(record.header(JOB_TYPE) or b"", self._late_s_of_others)
        since = None if late_s is None else since_of(record)
        return late_s is not None and since is not None and now_s - since.timestamp() > late_s
