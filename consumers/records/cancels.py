"""`Cancels`: the cancels that stand in this process, each for one job or for all jobs that a filter takes."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from types import MappingProxyType
from typing import Final
from weakref import WeakValueDictionary

from ...topology.wire.headers import JOB_ID, JOB_TYPE, TIME, parse_instant
from .cancellation import Cancellation
from .record import Record

NAME_BYTES: Final = 16
"""A job is known by a digest of its id: there may be a great many cancels, and ids of any length."""
SHARED_S: Final = 60.0
"""Cancels of one operator for one reason share what is known of them, where they are over in the same minute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelFilter:
    """Which jobs a cancel is about; what is None does not matter.

    Attributes:
        queue: its name.
        before: only jobs that were enqueued before this instant.
    """

    queue: str | None = None
    job_type: bytes | None = None
    key: bytes | None = None
    tenant: bytes | None = None
    before: datetime | None = None

    def takes(self, record: Record, queue: str) -> bool:
        """Whether the job of a record is meant."""
        return (
            self.queue in (None, queue)
            and (self.job_type is None or record.header(JOB_TYPE) == self.job_type)
            and (self.key is None or record.key == self.key)
            and (self.tenant is None or record.tenant == self.tenant)
            and (self.before is None or enqueued_at_s(record) < self.before.timestamp())
        )


def enqueued_at_s(record: Record) -> float:
    """When the job was enqueued, by its publisher's clock, and else when the record was written."""
    written = record.header(TIME)
    try:
        return record.timestamp_ms / 1_000 if written is None else parse_instant(written).timestamp()
    except ValueError:
        return record.timestamp_ms / 1_000


@dataclass(frozen=True, slots=True, weakref_slot=True)
class _Standing:
    """Who and why, and until when that stands, in epoch seconds."""

    cancellation: Cancellation
    until_at_s: float


class Cancels:
    """Asked by runners, changed by another thread.

    Attributes:
        stands: whether there is any; the only thing that a job costs while there is none.
    """

    __slots__ = ("_filters", "_jobs", "_lock", "_shared", "stands")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: dict[bytes, _Standing] = {}
        self._filters: Mapping[str, tuple[CancelFilter, _Standing]] = MappingProxyType({})
        self._shared: WeakValueDictionary[tuple[Cancellation, float], _Standing] = WeakValueDictionary()
        self.stands = False

    def __len__(self) -> int:
        return len(self._jobs) + len(self._filters)

    def begin_job(self, job_id: str, cancellation: Cancellation, until_at_s: float = math.inf) -> None:
        """Cancel one job, also if it comes later."""
        with self._lock:
            self._jobs[name_of_job(job_id.encode())] = self._standing(cancellation, until_at_s)
            self.stands = True

    def end_job(self, job_id: str) -> None:
        """Lift that; nothing happens where it does not stand."""
        with self._lock:
            self._jobs.pop(name_of_job(job_id.encode()), None)
            self._note_whether_any()

    def begin_filter(
        self, order_id: str, wanted: CancelFilter, cancellation: Cancellation, until_at_s: float = math.inf
    ) -> None:
        """Cancel all jobs that a filter takes, also those that come later."""
        with self._lock:
            self._filters = {**self._filters, order_id: (wanted, self._standing(cancellation, until_at_s))}
            self.stands = True

    def end_filter(self, order_id: str) -> None:
        """Lift that; nothing happens where it does not stand."""
        with self._lock:
            self._filters = {known: found for known, found in self._filters.items() if known != order_id}
            self._note_whether_any()

    def forget_old(self, now_s: float) -> int:
        """Forget those that are over; gives how many these were."""
        with self._lock:
            before = len(self)
            self._jobs = {name: found for name, found in self._jobs.items() if found.until_at_s > now_s}
            self._filters = {name: found for name, found in self._filters.items() if found[1].until_at_s > now_s}
            self._note_whether_any()
            return before - len(self)

    def of(self, record: Record, queue: str) -> Cancellation | None:
        """Who has cancelled the job of a record, which is the queue's, and why; None where nobody has."""
        job_id = record.header(JOB_ID)
        found = None if job_id is None else self._jobs.get(name_of_job(job_id))
        if found is not None:
            return found.cancellation
        return next((by.cancellation for wanted, by in self._filters.values() if wanted.takes(record, queue)), None)

    def _standing(self, cancellation: Cancellation, until_at_s: float) -> _Standing:
        until_at_s = until_at_s if until_at_s == math.inf else math.ceil(until_at_s / SHARED_S) * SHARED_S
        return self._shared.setdefault((cancellation, until_at_s), _Standing(cancellation, until_at_s))

    def _note_whether_any(self) -> None:
        self.stands = bool(self._jobs or self._filters)


NO_CANCELS: Final = Cancels()
"""Where nobody can cancel anything."""


def name_of_job(job_id: bytes) -> bytes:
    """What a job is known by here."""
    return blake2b(job_id, digest_size=NAME_BYTES).digest()
