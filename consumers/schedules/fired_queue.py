"""`FiredQueue`: the schedules of one queue that this process fires while it owns the queue's first partition."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Final, NamedTuple

from confluent_kafka import KafkaException

from ...producers.schedules.book import ScheduleBook
from ...producers.transaction_writer import TransactionFailed
from ...topology.log_pace import LogPace
from .. import log_keys
from .instant_counts import InstantCounts
from .queue_schedules import QueueSchedules

_LOGGER = logging.getLogger("stoker.schedules")

PACE_S: Final = 0.2
"""Transactions of a queue's schedules are so far apart at least: what is due meanwhile fires together."""
AGAIN_S: Final = 1.0
"""After a failure, the first partition's owner tries to take over again; twice as long each time, up to `LONGEST_S`."""
LONGEST_S: Final = 10.0
FORBIDDEN_S: Final = 60.0
"""After a refusal, it is tried again so much later."""
LOG_INTERVAL_S: Final = 30.0
ASKED_FOR_S: Final = 1.0
"""An answer about the end of the topic is good for so long; a process that was frozen meanwhile asks again."""


class FiringPhase(Enum):
    """How far this process has come with a queue.

    NOT_OURS -> OURS -> TAKING_OVER -> ARMED; after a failure back to OURS, and from any to NOT_OURS when the partition
    goes.
    """

    NOT_OURS = "another process owns the first partition"
    OURS = "the queue has no schedules, or is to be taken over"
    TAKING_OVER = "a transaction has begun or ended that shuts out older processes; what they wrote is to be read"
    ARMED = "its schedules fire"


class ReadSchedules(NamedTuple):
    """The topic of schedules, as far as it was read.

    Attributes:
        changed: the names that the last reading has changed.
        position: the offset of the next record.
        is_caught_up: whether all was read that was there at the start.
        ask_records_end: asks for the offset behind the last record that is there.
    """

    book: ScheduleBook
    changed: set[str]
    position: int
    is_caught_up: bool
    ask_records_end: Callable[[], int]

    def names_of(self, queue: str) -> list[str]:
        """The names of a queue's schedules."""
        return [name for name, schedule in self.book.schedules.items() if schedule.queue == queue]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleFigures:
    """The schedules of a queue at a moment.

    Attributes:
        schedules: how many this process fires; None where it is not the one that fires them.
        overdue_s: for how long an instant is overdue, 0 where none is; None as above.
        instants: what has become of those that were due.
    """

    queue: str
    schedules: int | None
    overdue_s: float | None
    instants: InstantCounts


class FiredQueue:
    """Owned by the thread of schedules; any thread may call `figures`.

    Attributes:
        phase: how far this process has come with it.
    """

    def __init__(self, queue: str, schedules: QueueSchedules, monotonic: Callable[[], float]) -> None:
        self.queue, self._schedules, self._monotonic = queue, schedules, monotonic
        self.phase = FiringPhase.NOT_OURS
        self._read_up_to = 0
        self._due_at: datetime | None = None  # the first instant that was not dealt with; kept while none can fire
        self._rests_until_at_s = self._fired_at_s = self._asked_at_s = -math.inf
        self._to_be_read: int | None = None
        self._pause_s = AGAIN_S
        self._log_pace = LogPace(LOG_INTERVAL_S)

    # ---- whose it is

    def look(self, is_ours: bool) -> bool:
        """Note whether this process owns the first partition now; returns that."""
        if not is_ours:
            self.leave()
        elif self.phase is FiringPhase.NOT_OURS:
            self.phase = FiringPhase.OURS
        return is_ours

    def leave(self) -> None:
        """Let go of it, since it is not ours, or not any more."""
        self._let_go()
        self.phase, self._due_at = FiringPhase.NOT_OURS, None

    def _let_go(self) -> None:
        """Fire nothing until it is taken over anew."""
        if self.phase in {FiringPhase.TAKING_OVER, FiringPhase.ARMED}:
            self._schedules.let_go()
            self.phase, self._to_be_read = FiringPhase.OURS, None

    # ---- a turn

    def wake_in_s(self, now: datetime) -> float:
        """How long it is until something is to be fired; infinite where nothing is, or more is to be read before."""
        is_armed = self.phase is FiringPhase.ARMED and self._to_be_read is None
        at = self._schedules.wake_at if is_armed else None
        return math.inf if at is None else max((at - now).total_seconds(), self._pace_left_s)

    @property
    def _pace_left_s(self) -> float:
        """How long it is until the next transaction."""
        return max(0.0, self._fired_at_s + PACE_S - self._monotonic())

    def serve(self, read: ReadSchedules, now: datetime) -> None:
        """Fire what is due, or take the queue over."""
        try:
            if self.phase is FiringPhase.ARMED:
                self._fire(read, now)
            else:
                self._take_over(read, now)
        except (TransactionFailed, KafkaException) as failed:
            self.note_failure(failed)
            if self._due_at is None:
                self._due_at = self._due_at_in(read)
        if self.phase is FiringPhase.ARMED:
            self._due_at = self._schedules.due_at
        elif self._due_at is not None and read.changed:  # perhaps that of a schedule which is not there any more
            self._due_at = self._due_at_in(read)

    def _due_at_in(self, read: ReadSchedules) -> datetime | None:
        return self._schedules.due_at_in(read.book, read.names_of(self.queue))

    def _fire(self, read: ReadSchedules, now: datetime) -> None:
        if read.changed:
            self._schedules.arm(read.book, read.changed)
        if self._pace_left_s == 0 and self._knows_changes(read, now) and self._schedules.fire_due(now):
            self._fired_at_s = self._monotonic()
        self._pause_s = AGAIN_S

    def _knows_changes(self, read: ReadSchedules, now: datetime) -> bool:
        """Whether all changes are armed that were there once the next instant was due.

        Else a process that was frozen would fire a schedule that was paused or removed meanwhile.
        """
        wake_at = self._schedules.wake_at
        if wake_at is None or wake_at > now:
            return True
        now_s = self._monotonic()
        if self._to_be_read is None or now_s - self._asked_at_s > ASKED_FOR_S:
            self._to_be_read, self._asked_at_s = read.ask_records_end(), now_s
        if read.position < self._to_be_read:
            return False
        self._to_be_read = None
        return True

    def _take_over(self, read: ReadSchedules, now: datetime) -> None:
        is_waiting = self._monotonic() < self._rests_until_at_s or not read.is_caught_up
        if self.phase is FiringPhase.OURS and is_waiting:
            return
        names = read.names_of(self.queue)
        if self.phase is FiringPhase.OURS:
            if not names:
                return
            self.phase = FiringPhase.TAKING_OVER
            self._read_up_to = self._schedules.take_over(now).offset
        if read.position > self._read_up_to:
            self._schedules.arm(read.book, names)
            self.phase = FiringPhase.ARMED
            _LOGGER.info(
                "this worker fires the schedules of queue %r: %d of them", self.queue, len(names),
                extra={**self._fields, log_keys.COUNT: len(names)},
            )  # fmt: skip

    def note_failure(self, failed: Exception) -> None:
        """Begin anew, after a pause: what stands is on the topic."""
        self._let_go()
        now_s = self._monotonic()
        self._rests_until_at_s = now_s + self._pause_s
        self._pause_s = min(2 * self._pause_s, LONGEST_S)
        if isinstance(failed, TransactionFailed) and failed.is_fenced:
            _LOGGER.info("another worker fires the schedules of queue %r", self.queue, extra=self._fields)
        elif isinstance(failed, TransactionFailed) and failed.is_forbidden:
            self._rests_until_at_s = now_s + FORBIDDEN_S
            _LOGGER.error(
                "the schedules of queue %r do not fire, and jobs go on: Kafka forbids it (%s); grant %s (`stoker "
                "topology rights --duty worker` lists all rights)", self.queue, failed, self._schedules.rights,
                extra=self._fields,
            )  # fmt: skip
        elif self._log_pace.try_acquire(now_s):
            _LOGGER.warning(
                "the schedules of queue %r wait, and fire when the brokers answer: %s", self.queue, failed,
                extra=self._fields,
            )  # fmt: skip

    @property
    def _fields(self) -> Mapping[str, object]:
        return {log_keys.QUEUE: self.queue}

    # ---- what is shown

    def figures(self, now_s: float) -> ScheduleFigures:
        """The figures of the queue at this moment, in epoch seconds; called by any thread."""
        due_at, is_ours = self._due_at, self.phase is not FiringPhase.NOT_OURS
        overdue_s = 0.0 if due_at is None else max(0.0, now_s - due_at.timestamp())
        return ScheduleFigures(
            queue=self.queue,
            schedules=self._schedules.armed if is_ours else None,
            overdue_s=overdue_s if is_ours else None,
            instants=self._schedules.instants,
        )
