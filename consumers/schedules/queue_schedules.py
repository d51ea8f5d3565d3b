"""`QueueSchedules`: fires the schedules of one queue, while this process owns the queue's first partition.

A turn enqueues what is due and notes it as fired, in one transaction. So a kill at any line leaves both or none.
Before the first turn, the writer has shut out that of the last owner, and the topic was read up to what this one has
written after that: nothing that another owner has fired is unknown, and none fires any more.
"""

from __future__ import annotations

import heapq
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Final, Protocol

from confluent_kafka import KafkaException

from ...producers.schedules.book import ScheduleBook
from ...producers.transaction_writer import TransactionFailed, TransactionRecord
from ...schemas.own_records.control_records import RecordPlace
from ...schemas.own_records.schedule_records import (
    FiringOutcome,
    LastFiring,
    ScheduleOwner,
    ScheduleRecord,
    encode_firing,
    encode_owner,
)
from ...topology.counts import counted
from ...topology.declaration.timing import InvalidTiming
from ...topology.wire.headers import JOB_ID
from ...topology.wire.schedules import ScheduleKey
from .. import log_keys
from .instant_counts import InstantCounts
from .jobs_of_instants import CannotFire
from .pending import Pending, Upcoming

_LOGGER = logging.getLogger("stoker.schedules")

BATCH: Final = 500
"""Schedules that fire in one transaction, at most."""
MOST_RECORDS: Final = 2_000
PUT_OFF: Final = timedelta(seconds=10)
"""A schedule that cannot be fired is tried again after so long; the others go on."""


class ScheduleWriter(Protocol):
    """Writes transactions, as `TransactionWriter` does."""

    def connect(self) -> None:
        """Shut out all earlier ones."""

    def partitions(self, topic: str) -> int:
        """How many partitions a topic has."""

    def write(
        self,
        records: list[TransactionRecord],
        then: Callable[[list[RecordPlace]], list[TransactionRecord]] = ...,
    ) -> list[RecordPlace]:
        """Write, in one transaction."""

    def close(self) -> None:
        """Disconnect."""


MakeJobs = Callable[[ScheduleRecord, datetime, int, datetime], list[TransactionRecord]]


@dataclass(frozen=True, slots=True, kw_only=True)
class FiringParts:
    """The parts that fire the schedules of a queue.

    Attributes:
        make_jobs: makes the records of a schedule's instant; may raise `CannotFire`.
        has_ended: whether the job of this id, whose record is at this place, has ended.
    """

    queue: str
    topic: str
    schedules_topic: str
    transactional_id: str
    worker_id: str
    writer: ScheduleWriter
    make_jobs: MakeJobs
    has_ended: Callable[[str, RecordPlace], bool]


@dataclass(slots=True, eq=False)
class _Armed:
    """A schedule that is to fire.

    Attributes:
        not_before: when it is tried again, after it could not be fired.
    """

    upcoming: Upcoming
    last: LastFiring | None
    not_before: datetime | None = None

    @property
    def schedule(self) -> ScheduleRecord:
        return self.upcoming.schedule

    @property
    def wake_at(self) -> datetime | None:
        due_at = self.upcoming.due_at
        return due_at if due_at is None or self.not_before is None else max(due_at, self.not_before)


@dataclass(frozen=True, slots=True)
class _Firing:
    """A schedule with what is done about its next instants.

    Attributes:
        instants: those whose jobs are enqueued.
    """

    armed: _Armed
    pending: Pending
    outcome: FiringOutcome
    instants: tuple[datetime, ...]
    jobs: list[TransactionRecord]


class QueueSchedules:
    """Not thread-safe; the thread of schedules alone calls it.

    Attributes:
        instants: what has become of instants, for metrics.
    """

    def __init__(self, parts: FiringParts) -> None:
        self._parts = parts
        self._armed: dict[str, _Armed] = {}
        self._fired: dict[str, LastFiring] = {}
        self._heap: list[tuple[datetime, int, _Armed]] = []
        self._held_back: dict[str, _Armed] = {}
        self._number = count()
        self._partitions = 0
        self.instants = InstantCounts()

    @property
    def rights(self) -> str:
        """The rights that the writer of this queue's schedules needs, in words."""
        parts = self._parts
        return (
            f"Write on transactional-id {parts.transactional_id}, topic {parts.schedules_topic} and topic {parts.topic}"
        )

    def take_over(self, now: datetime) -> RecordPlace:
        """Shut out the owner before; returns the place up to which the topic is to be read before the first turn.

        Raises:
            TransactionFailed: the brokers do not answer, or refuse.
        """
        parts = self._parts
        parts.writer.connect()
        self._partitions = parts.writer.partitions(parts.topic)
        owner = encode_owner(ScheduleOwner(worker=parts.worker_id, at=now))
        record = TransactionRecord(
            topic=parts.schedules_topic, key=ScheduleKey.OWNER.of(parts.queue), value=owner, headers=[]
        )
        return parts.writer.write([record])[0]

    def arm(self, book: ScheduleBook, names: Iterable[str]) -> None:
        """Take these schedules as the book has them.

        What this owner has fired last it knows itself: its notes may stand behind the change, and not be read yet.
        """
        for name in names:
            self._armed.pop(name, None)
            self._held_back.pop(name, None)
            armed = self._as_in(book, name)
            if armed is not None:
                self._armed[name] = armed
                self._push(armed)

    def _as_in(self, book: ScheduleBook, name: str) -> _Armed | None:
        """A schedule as the book has it; None where it is not to fire here."""
        schedule = book.schedules.get(name)
        if schedule is None or schedule.queue != self._parts.queue or schedule.is_paused:
            return None
        last = self._fired.get(name) or book.last_firing(name)
        try:
            return _Armed(Upcoming(schedule, schedule.since if last is None else last.instant), last)
        except InvalidTiming as fault:
            _LOGGER.error(
                "schedule %r does not fire on this worker: %s",
                name,
                fault,
                extra={log_keys.QUEUE: schedule.queue, log_keys.SCHEDULE: name},
            )
            return None

    def let_go(self) -> None:
        """Fire nothing more, until the next take-over."""
        self._armed.clear()
        self._fired.clear()
        self._heap.clear()
        self._held_back.clear()
        self._parts.writer.close()

    @property
    def wake_at(self) -> datetime | None:
        """When the next turn is due; None where nothing will ever fire."""
        while self._heap and self._armed.get(self._heap[0][2].schedule.name) is not self._heap[0][2]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    @property
    def armed(self) -> int:
        """How many schedules are to fire."""
        return len(self._armed)

    @property
    def due_at(self) -> datetime | None:
        """When the first instant is due that was not dealt with; in the past where one is overdue."""
        found = [self.wake_at, *(armed.upcoming.due_at for armed in self._held_back.values())]
        return min((at for at in found if at is not None), default=None)

    def due_at_in(self, book: ScheduleBook, names: Iterable[str]) -> datetime | None:
        """When the first of these is due, by what the topic has, while none can be armed."""
        found = (armed.wake_at for armed in (self._as_in(book, name) for name in names) if armed is not None)
        return min((at for at in found if at is not None), default=None)

    def fire_due(self, now: datetime) -> int:
        """Fire what is due; returns how many jobs were enqueued.

        Raises:
            TransactionFailed: perhaps nothing was; take over again, to learn what stands.
        """
        firings = self._next_firings(now)
        return self._write(firings, now) if firings else 0

    def _next_firings(self, now: datetime) -> list[_Firing]:
        firings: list[_Firing] = []
        records = 0
        while len(firings) < BATCH and records < MOST_RECORDS and (wake_at := self.wake_at) is not None:
            if wake_at > now:
                break
            armed = heapq.heappop(self._heap)[2]
            firing = self._firing(armed, now)
            if firing is None:
                self._push(armed)
            else:
                firings.append(firing)
                records += len(firing.jobs) + 1
        return firings

    def _firing(self, armed: _Armed, now: datetime) -> _Firing | None:
        """Decide about a schedule that is due; None where it is put off."""
        pending = armed.upcoming.pending(now)
        if pending is None:
            return None
        try:
            outcome, instants = self._without_overlap(armed, pending)
            jobs = [job for at in instants for job in self._parts.make_jobs(armed.schedule, at, self._partitions, now)]
        except (CannotFire, KafkaException) as fault:
            self._put_off(armed, str(fault), now)
            return None
        return _Firing(armed, pending, outcome, instants, jobs)

    def _without_overlap(self, armed: _Armed, pending: Pending) -> tuple[FiringOutcome, tuple[datetime, ...]]:
        """The instants whose jobs may be enqueued beside the one before; raises as `EndedJobs.has_ended`."""
        if armed.schedule.overlap != "skip" or not pending.fire:
            return pending.outcome, pending.fire
        last = armed.last
        if last is not None and last.place is not None and not self._parts.has_ended(last.job_id, last.place):
            return FiringOutcome.OVERLAP, ()
        return FiringOutcome.FIRED, pending.fire[-1:]

    def _put_off(self, armed: _Armed, why: str, now: datetime) -> None:
        armed.not_before = now + PUT_OFF
        self._held_back[armed.schedule.name] = armed
        _LOGGER.error(
            "schedule %r could not be fired for %s and is tried again in %.0f s: %s", armed.schedule.name,
            armed.upcoming.next, PUT_OFF.total_seconds(), why,
            extra={log_keys.QUEUE: armed.schedule.queue, log_keys.SCHEDULE: armed.schedule.name},
        )  # fmt: skip

    def _write(self, firings: list[_Firing], now: datetime) -> int:
        """Write jobs and notes; where one certain record cannot be written, all but its schedule go on."""
        jobs = [job for firing in firings for job in firing.jobs]
        lasts: list[LastFiring] = []

        def notes(places: list[RecordPlace]) -> list[TransactionRecord]:
            lasts[:] = _lasts(firings, places, self._parts.worker_id, now)
            return [self._note(firing, last) for firing, last in zip(firings, lasts, strict=True)]

        try:
            self._parts.writer.write(jobs, notes)
        except TransactionFailed as failed:
            if not failed.is_of_a_record or failed.is_perhaps_committed:
                raise
            return self._write_apart(firings, now, failed)
        for firing, last in zip(firings, lasts, strict=True):
            self._note_fired(firing, last)
            self.instants.note(firing.armed.schedule, firing.pending, firing.instants, now)
        return len(jobs)

    def _write_apart(self, firings: list[_Firing], now: datetime, failed: TransactionFailed) -> int:
        if len(firings) > 1:
            half = len(firings) // 2
            return self._write(firings[:half], now) + self._write(firings[half:], now)
        (firing,) = firings
        self._put_off(firing.armed, f"a topic does not take its record: {failed}", now)
        self._push(firing.armed)
        return 0

    def _note(self, firing: _Firing, last: LastFiring) -> TransactionRecord:
        key = ScheduleKey.FIRED.of(firing.armed.schedule.name)
        return TransactionRecord(topic=self._parts.schedules_topic, key=key, value=encode_firing(last), headers=[])

    def _note_fired(self, firing: _Firing, last: LastFiring) -> None:
        armed = firing.armed
        armed.last, armed.not_before = last, None
        self._fired[armed.schedule.name] = last
        self._held_back.pop(armed.schedule.name, None)
        armed.upcoming.move(last.instant)
        self._push(armed)
        _log(armed.schedule, firing, last)

    def _push(self, armed: _Armed) -> None:
        wake_at = armed.wake_at
        if wake_at is not None:
            heapq.heappush(self._heap, (wake_at, next(self._number), armed))


def _lasts(firings: list[_Firing], places: list[RecordPlace], worker_id: str, now: datetime) -> list[LastFiring]:
    """The last firing of each schedule, once this transaction is written."""
    found: list[LastFiring] = []
    behind = 0
    for firing in firings:
        behind += len(firing.jobs)
        before = firing.armed.last
        kept = (before.job_id, before.place) if before is not None else ("", None)
        job_id, place = (_id_of(firing.jobs[-1]), places[behind - 1]) if firing.jobs else kept
        overlapping = len(firing.pending.fire) - len(firing.instants)
        found.append(
            LastFiring(
                instant=firing.pending.up_to,
                at=now.astimezone(UTC),
                outcome=firing.outcome,
                skipped=firing.pending.left_out + overlapping,
                job_id=job_id,
                place=place,
                worker=worker_id,
            )
        )
    return found


def _id_of(job: TransactionRecord) -> str:
    return dict(job.headers)[JOB_ID].decode()


def _log(schedule: ScheduleRecord, firing: _Firing, last: LastFiring) -> None:
    fields = {log_keys.QUEUE: schedule.queue, log_keys.SCHEDULE: schedule.name}
    if last.outcome == FiringOutcome.OVERLAP:
        _LOGGER.info(
            "schedule %r leaves out %s: job %s, which it has enqueued before, has not ended",
            schedule.name, last.instant, last.job_id,
            extra={**fields, log_keys.JOB_ID: last.job_id},
        )  # fmt: skip
    elif last.skipped:
        _LOGGER.warning(
            "schedule %r leaves out %s up to %s, which no worker fired in time (missed=%r, overlap=%r)",
            schedule.name, counted(last.skipped, "instant"), last.instant, schedule.missed, schedule.overlap,
            extra=fields,
        )  # fmt: skip
    if firing.jobs:
        _LOGGER.debug(
            "schedule %r has enqueued %s up to %s",
            schedule.name,
            counted(len(firing.jobs), "job"),
            last.instant,
            extra=fields,
        )
