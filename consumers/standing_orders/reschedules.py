"""`Reschedules`: the jobs that are to start at another time than their records have, in this process."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Final

from ...topology.wire.headers import ATTEMPT, JOB_ID, HeaderList
from ..records.outcomes import INTERRUPTED, SKIPPED, Cancelled, Dead, Delayed, Done, Outcome
from ..records.record import Record, RecordAt, record_at
from .cancels import NO_CANCELS, Cancels, name_of_job

COMMITTED_AFTER_S: Final = 60.0
"""Offsets are committed some times a second; what was settled before is committed, or its worker has died."""
RescheduledJob = tuple[bytes, RecordAt | None]
"""The id of a job whose time is another by now, and where it waits, if the operator has found that."""


@dataclass(slots=True)
class _Standing:
    """When a job is to start, and until when that stands, in epoch seconds; the record as which it has begun."""

    due_at_s: float
    until_at_s: float
    order_id: str
    begun_at: RecordAt | None = None

    def is_for(self, at: RecordAt) -> bool:
        """Whether it holds for a record: until the job begins for each of its records, and then for that one alone.

        So the retry of a job that has begun waits for its own time, and a job that is cut short starts again at once.
        """
        return self.begun_at is None or self.begun_at == at


@dataclass(slots=True)
class _Prioritized:
    """A job that was given a priority: its record with this origin counts as settled, the copy there runs."""

    job_id: str
    priority: str
    until_at_s: float
    order_id: str


class Reschedules:
    """Asked by runners and poll threads, changed by another thread.

    Attributes:
        stands: whether there is any, or a job was given another priority; all that a job costs while there is none.
    """

    __slots__ = ("_ended", "_jobs", "_lock", "_passed", "_prioritized", "_watching", "stands")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: dict[bytes, _Standing] = {}
        self._ended: deque[tuple[str, _Standing]] = deque()
        self._watching: list[deque[RescheduledJob]] = []
        self._prioritized: dict[bytes, _Prioritized] = {}
        self._passed: dict[bytes, float] = {}
        self.stands = False

    def __len__(self) -> int:
        return len(self._jobs)

    def begin(
        self, job_id: str, due_at_s: float, until_at_s: float, at: RecordAt | None = None, *, order_id: str = ""
    ) -> None:
        """Let a job start at this time.

        Args:
            at: the record as which the job waits, where that is known.
        """
        with self._lock:
            self._jobs[name_of_job(job_id.encode())] = _Standing(due_at_s, until_at_s, order_id)
            self.stands = True
        for rescheduled in self._watching:
            rescheduled.append((job_id.encode(), at))

    def end(self, job_id: str) -> None:
        """Forget that; nothing happens where it does not stand."""
        self.end_all({name_of_job(job_id.encode())})

    def end_all(self, names: Collection[bytes]) -> None:
        """Forget the jobs that are known by these names."""
        with self._lock:
            for name in names:
                self._jobs.pop(name, None)
            self._update_stands()

    def order_about(self, job_id: str) -> str | None:
        """The id of the order that gives this job another time; None where none stands."""
        found = self._jobs.get(name_of_job(job_id.encode()))
        return None if found is None else found.order_id

    def forget_old(self, now_s: float) -> None:
        """Forget those that are over."""
        self.end_all([name for name, found in list(self._jobs.items()) if found.until_at_s <= now_s])
        self.end_prioritized({found.job_id for found in list(self._prioritized.values()) if found.until_at_s <= now_s})

    def _update_stands(self) -> None:
        self.stands = bool(self._jobs or self._prioritized)

    # ---- other priorities

    def prioritize(self, job_id: str, origin: str, priority: str, until_at_s: float, *, order_id: str = "") -> None:
        """Let the record of a job count as settled that was enqueued there: a copy of this priority runs instead."""
        with self._lock:
            self._prioritized[origin.encode()] = _Prioritized(job_id, priority, until_at_s, order_id)
            self.stands = True

    def end_prioritized(self, job_ids: Collection[str]) -> None:
        """Forget that of these jobs."""
        self._end_prioritized(lambda found: found.job_id in job_ids)

    def end_prioritized_by(self, order_id: str) -> None:
        """Forget that, so far as it is by this order."""
        self._end_prioritized(lambda found: found.order_id == order_id)

    def _end_prioritized(self, is_meant: Callable[[_Prioritized], bool]) -> None:
        with self._lock:
            for origin in [origin for origin, found in self._prioritized.items() if is_meant(found)]:
                del self._prioritized[origin]
                self._passed.pop(origin, None)
            self._update_stands()

    @property
    def prioritized(self) -> set[str]:
        """The ids of the jobs."""
        with self._lock:
            return {found.job_id for found in self._prioritized.values()}

    def has_prioritized_copy(self, record: Record) -> bool:
        """Whether a copy of a record, of another priority, runs in its place; not of one that has failed since."""
        found = self._prioritized.get(record.origin) if self._prioritized else None
        return found is not None and record.header(ATTEMPT) is None and record.priority != found.priority

    def take_passed(self, now_s: float) -> list[tuple[str, str]]:
        """Take the jobs whose first record has been settled for so long that this is committed.

        Returns:
            (the job's id, that of the order) of each.
        """
        with self._lock:
            origins = [origin for origin, at_s in self._passed.items() if now_s - at_s >= COMMITTED_AFTER_S]
            for origin in origins:
                del self._passed[origin]
            passed = [self._prioritized[origin] for origin in origins if origin in self._prioritized]
        return [(found.job_id, found.order_id) for found in passed]

    @property
    def names(self) -> set[bytes]:
        """The names of the jobs."""
        with self._lock:
            return set(self._jobs)

    def watch(self) -> deque[RescheduledJob]:
        """Return a queue that gets each job whose records must be looked at anew; called before any order is taken."""
        rescheduled: deque[RescheduledJob] = deque()
        self._watching.append(rescheduled)
        return rescheduled

    def due_at_s(self, record: Record) -> float | None:
        """When the job of a record is to start, in epoch seconds; None where its own time counts."""
        return self._due_at_s(record.header(JOB_ID), record_at(record))

    def due_at_s_of(self, pairs: HeaderList | None, at: RecordAt) -> float | None:
        """The time at which an operator lets a job start, by its record's headers."""
        job_id = next((value for name, value in pairs or () if name == JOB_ID), None)
        return self._due_at_s(job_id, at)

    def _due_at_s(self, job_id: bytes | None, at: RecordAt) -> float | None:
        found = None if job_id is None else self._jobs.get(name_of_job(job_id))
        return found.due_at_s if found is not None and found.is_for(at) else None

    def note_begun(self, record: Record) -> None:
        """Note that the job is about to begin: its later records have their own times."""
        job_id = record.header(JOB_ID)
        found = None if job_id is None else self._jobs.get(name_of_job(job_id))
        if found is not None:
            found.begun_at = record_at(record)

    def note_settled(self, settled: Iterable[tuple[Record, Outcome]]) -> None:
        """Note what is durable: a job that has begun, or has ended without, needs no other time any more.

        One that ran already when it was ordered, and did not end by that, does.
        """
        if self._prioritized:
            settled = list(settled)
            self._note_passed(settled)
        for record, outcome in settled:
            job_id = None if isinstance(outcome, _WAITING) else record.header(JOB_ID)
            found = None if job_id is None else self._jobs.get(name_of_job(job_id))
            if job_id is None or found is None or not record.assignment.is_active:
                continue
            if isinstance(outcome, _ENDED) or found.begun_at == record_at(record):
                self._ended.append((job_id.decode("utf-8", "surrogateescape"), found))

    def _note_passed(self, settled: Iterable[tuple[Record, Outcome]]) -> None:
        for record, outcome in settled:
            if outcome is SKIPPED and self.has_prioritized_copy(record):
                self._passed[record.origin] = time.monotonic()

    def take_ended(self) -> list[tuple[str, str]]:
        """Take the jobs that `note_settled` has found since the last call, unless they have a new time.

        Returns:
            (the job's id, that of the order) of each.
        """
        found: list[tuple[str, str]] = []
        while self._ended:
            job_id, standing = self._ended.popleft()
            if self._jobs.get(name_of_job(job_id.encode("utf-8", "surrogateescape"))) is standing:
                found.append((job_id, standing.order_id))
        return found


_ENDED: Final = (Done, Dead, Cancelled)
_WAITING: Final = (Delayed, type(INTERRUPTED), type(SKIPPED))
"""The job comes again, or another record of it was settled before."""

NO_RESCHEDULES: Final = Reschedules()
"""A worker that takes no orders to reschedule has these."""


@dataclass(frozen=True, slots=True)
class JobOrders:
    """The orders about single jobs that stand in this process."""

    cancels: Cancels = NO_CANCELS
    reschedules: Reschedules = NO_RESCHEDULES
