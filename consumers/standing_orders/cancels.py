"""`Cancels`: the cancels that stand in this process, each for one job or for all jobs that a filter takes."""

from __future__ import annotations

import math
import threading
from collections import deque
from hashlib import blake2b
from typing import Final
from weakref import WeakValueDictionary

from ...topology.wire.headers import JOB_ID
from ..records.cancellation import Cancellation, Standing
from ..records.record import Record
from .cancel_filters import CancelFilter, CancelFilters

NAME_BYTES: Final = 16
"""A job is known by a digest of its id: there may be a great many cancels, and ids of any length."""
SHARED_S: Final = 60.0
"""Cancels of one operator for one reason share what is known of them, where they are over in the same minute."""
MOST_COUNTED: Final = 50
"""Orders, the latest ones, of which it is known how many jobs they have ended."""


class Cancels:
    """Asked by runners, changed by another thread.

    Attributes:
        stands: whether there is any; the only thing that a job costs while there is none.
        begun: how many have begun since the start of the process; `filters_begun` of them are for what filters take.
        ended: {id of an order: how many jobs it has ended since then}, of the latest orders.
    """

    __slots__ = ("_ended", "_filters", "_jobs", "_lock", "_shared", "begun", "ended", "filters_begun", "stands")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: dict[bytes, Standing] = {}
        self._filters = CancelFilters()
        self._shared: WeakValueDictionary[tuple[Cancellation, float], Standing] = WeakValueDictionary()
        self._ended: deque[tuple[str, Standing]] = deque()
        self.stands = False
        self.begun = self.filters_begun = 0
        self.ended: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._jobs) + len(self._filters)

    def begin_job(self, job_id: str, cancellation: Cancellation, until_at_s: float = math.inf) -> None:
        """Cancel one job, also if it comes later."""
        with self._lock:
            self._jobs[name_of_job(job_id.encode())] = self._standing(cancellation, until_at_s)
            self._count_begun()

    def end_job(self, job_id: str) -> None:
        """Lift that; nothing happens where it does not stand."""
        self.end_jobs({name_of_job(job_id.encode())})

    def end_jobs(self, names: set[bytes]) -> None:
        """Lift the cancels of jobs that are known by these names."""
        with self._lock:
            for name in names:
                self._jobs.pop(name, None)
            self._update_stands()

    def begin_filter(
        self, order_id: str, wanted: CancelFilter, cancellation: Cancellation, until_at_s: float = math.inf
    ) -> None:
        """Cancel all jobs that a filter takes."""
        with self._lock:
            self._filters.begin(order_id, wanted, self._standing(cancellation, until_at_s))
            self.filters_begun += 1
            self._count_begun()

    def end_filter(self, order_id: str) -> None:
        """Lift that; nothing happens where it does not stand."""
        with self._lock:
            self._filters.end(order_id)
            self._update_stands()

    def forget_old(self, now_s: float) -> int:
        """Forget those that are over; returns how many these were."""
        with self._lock:
            before = len(self)
            self._jobs = {name: found for name, found in self._jobs.items() if found.until_at_s > now_s}
            self._filters.end_old(now_s)
            self._update_stands()
            return before - len(self)

    @property
    def job_names(self) -> set[bytes]:
        """The names of the jobs that are cancelled one by one."""
        with self._lock:
            return set(self._jobs)

    @property
    def filter_ids(self) -> set[str]:
        """The orders whose filters stand."""
        with self._lock:
            return self._filters.order_ids

    def of(self, record: Record, queue: str) -> Cancellation | None:
        """Who has cancelled the job of a record, which is the queue's, and why; None where it is not cancelled."""
        job_id = record.header(JOB_ID) if self._jobs else None
        found = None if job_id is None else self._jobs.get(name_of_job(job_id))
        found = found or self._filters.of(record, queue)
        return None if found is None else found.cancellation

    def has(self, record: Record, queue: str) -> bool:
        """Whether the job of a record, which is the queue's, is cancelled."""
        return self.stands and self.of(record, queue) is not None

    def order_about(self, job_id: str) -> str | None:
        """The id of the order that cancels this job and no other; None where none stands."""
        found = self._jobs.get(name_of_job(job_id.encode()))
        return None if found is None else found.cancellation.order_id

    def note_ended(self, record: Record) -> None:
        """Note that the job of a record has ended: a cancel of it, if one stands, has nothing left to do."""
        job_id = record.header(JOB_ID) if self._jobs else None
        found = None if job_id is None else self._jobs.get(name_of_job(job_id))
        if job_id is not None and found is not None:
            self._ended.append((job_id.decode("utf-8", "surrogateescape"), found))

    def count_cancelled(self, by: Cancellation) -> None:
        """Count a job that an order has ended."""
        with self._lock:
            count = self.ended.get(by.order_id, 0)
            if not count and len(self.ended) >= MOST_COUNTED:
                self.ended = dict(list(self.ended.items())[1 - MOST_COUNTED :])
            self.ended[by.order_id] = count + 1

    def take_ended(self) -> list[tuple[str, str]]:
        """Take the jobs that have ended since the last call while a cancel of them stood, unless they have a new one.

        Returns:
            (the job's id, that of the order) of each.
        """
        found: list[tuple[str, str]] = []
        while self._ended:
            job_id, standing = self._ended.popleft()
            if self._jobs.get(name_of_job(job_id.encode("utf-8", "surrogateescape"))) is standing:
                found.append((job_id, standing.cancellation.order_id))
        return found

    def _standing(self, cancellation: Cancellation, until_at_s: float) -> Standing:
        until_at_s = until_at_s if until_at_s == math.inf else math.ceil(until_at_s / SHARED_S) * SHARED_S
        return self._shared.setdefault((cancellation, until_at_s), Standing(cancellation, until_at_s))

    def _count_begun(self) -> None:
        self.begun += 1
        self.stands = True

    def _update_stands(self) -> None:
        self.stands = bool(self._jobs or self._filters)


NO_CANCELS: Final = Cancels()
"""A worker that takes no orders to cancel has these."""


def name_of_job(job_id: bytes) -> bytes:
    """The name of a job in this set: a digest of its id."""
    return blake2b(job_id, digest_size=NAME_BYTES).digest()
