"""`ScheduleThread`: fires the schedules of those queues of which this process owns the first partition.

So each queue has one process that fires, and the group chooses it: no other election, and no process of its own. For a
moment there may be two of them; then the brokers shut out the older one (`queue_schedules.py`). A process that owns no
first partition reads nothing and waits.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Protocol

from confluent_kafka import KafkaException, Message

from ...producers.schedules.book import ScheduleBook
from ...producers.transaction_writer import TransactionFailed
from ...schemas.schedule_records import ScheduleRecord
from .. import log_keys
from .instant_counts import InstantCounts
from .queue_schedules import QueueSchedules

_LOGGER = logging.getLogger("stoker.schedules")

PACE_S: Final = 0.2
"""Transactions of a queue's schedules are so far apart at least: what is due meanwhile fires together."""
LOOK_S: Final = 0.2
"""How often the thread looks whether partitions have come or gone."""
ASK_S: Final = 5.0
AGAIN_S: Final = 1.0
"""After a failure, the first partition's owner tries to take over again; twice as long each time, up to `LONGEST_S`."""
LONGEST_S: Final = 10.0
FORBIDDEN_S: Final = 60.0
"""After a refusal, it is tried again so much later."""
REPORT_INTERVAL_S: Final = 30.0


class SchedulesReader(Protocol):
    """Reads the topic of schedules, as `LogReader` does."""

    position: int
    is_at_end: bool

    def ask_end(self, timeout_s: float) -> tuple[int, int]:
        """The first offset, and the one behind the last record."""

    def start(self, offset: int) -> None:
        """Read from this offset on."""

    def read(self, timeout_s: float) -> list[Message]:
        """Take what is there, or wait for the first record."""

    def close(self) -> None:
        """Disconnect."""


class _FiredQueue:
    """A queue whose schedules this process fires while it owns the first partition.

    Attributes:
        read_up_to: the offset that is to be read before anything fires; None while the queue is not taken over.
        is_armed: whether its schedules may fire.
        is_ours: whether this process owns the queue's first partition.
        due_at: when its first instant is due that was not dealt with; kept while none can fire.
    """

    def __init__(self, queue: str, schedules: QueueSchedules, monotonic: Callable[[], float]) -> None:
        self.queue, self.schedules, self._monotonic = queue, schedules, monotonic
        self.read_up_to: int | None = None
        self.is_armed = self.is_ours = False
        self.due_at: datetime | None = None
        self._rests_until_at_s = self._fired_at_s = -math.inf
        self._pause_s = AGAIN_S
        self._reported_at_s = -math.inf

    def let_go(self) -> None:
        """Fire nothing until it is taken over anew."""
        if self.read_up_to is not None:
            self.schedules.let_go()
        self.read_up_to, self.is_armed = None, False

    def leave(self) -> None:
        """Let go of it, since it is not ours, or not any more."""
        self.let_go()
        self.is_ours, self.due_at = False, None

    @property
    def is_resting(self) -> bool:
        """Whether it is not taken over yet, since that has failed a moment ago."""
        return self._monotonic() < self._rests_until_at_s

    @property
    def pace_left_s(self) -> float:
        """How long it is until the next transaction."""
        return max(0.0, self._fired_at_s + PACE_S - self._monotonic())

    def fire_due(self, now: datetime) -> None:
        """Fire what is due; raises as `QueueSchedules.fire_due`."""
        if self.pace_left_s == 0 and self.schedules.fire_due(now):
            self._fired_at_s = self._monotonic()

    def note_success(self) -> None:
        """The brokers answer."""
        self._pause_s = AGAIN_S

    def note_failure(self, failed: Exception) -> None:
        """Begin anew, after a pause: what stands is on the topic."""
        self.let_go()
        now_s = self._monotonic()
        self._rests_until_at_s = now_s + self._pause_s
        self._pause_s = min(2 * self._pause_s, LONGEST_S)
        if isinstance(failed, TransactionFailed) and failed.is_fenced:
            _LOGGER.info("another worker fires the schedules of queue %r", self.queue, extra=self._fields)
        elif isinstance(failed, TransactionFailed) and failed.is_forbidden:
            self._rests_until_at_s = now_s + FORBIDDEN_S
            _LOGGER.error(
                "the schedules of queue %r do not fire, and jobs go on: Kafka forbids it (%s); grant %s (`stoker "
                "topology rights --duty worker` lists all rights)", self.queue, failed, self.schedules.rights,
                extra=self._fields,
            )  # fmt: skip
        elif now_s - self._reported_at_s >= REPORT_INTERVAL_S:
            self._reported_at_s = now_s
            _LOGGER.warning(
                "the schedules of queue %r wait, and fire when the brokers answer: %s", self.queue, failed,
                extra=self._fields,
            )  # fmt: skip

    @property
    def _fields(self) -> Mapping[str, object]:
        return {log_keys.QUEUE: self.queue}


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleThreadParts:
    """The parts that the thread works with.

    Attributes:
        schedules: {queue: what fires its schedules}, of the queues that this process works on.
        owns_first: whether it owns the first partition of a queue.
        make_reader: makes the reader of the topic of schedules.
        clock: the time, in epoch seconds.
        monotonic: as `time.monotonic`.
    """

    schedules: Mapping[str, QueueSchedules]
    owns_first: Callable[[str], bool]
    make_reader: Callable[[], SchedulesReader]
    clock: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic


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


class ScheduleThread:
    """Fires until it is stopped."""

    def __init__(self, parts: ScheduleThreadParts, *, on_crash: Callable[[BaseException], None]) -> None:
        self._parts = parts
        self._on_crash = on_crash
        self._fired_queues = [
            _FiredQueue(queue, schedules, parts.monotonic) for queue, schedules in parts.schedules.items()
        ]
        self._stopped = threading.Event()
        self._reader: SchedulesReader | None = None
        self._book = ScheduleBook()
        self._end_at_start: int | None = None
        self._thread: threading.Thread | None = None

    def start(self, *, daemon: bool) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._run, name="stoker-schedules", daemon=daemon)
        self._thread.start()

    def stop(self) -> None:
        """Begin to end; called from any thread."""
        self._stopped.set()

    def join(self, timeout_s: float) -> None:
        """Wait for its end, for so long at the most."""
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _run(self) -> None:
        try:
            while not self._stopped.is_set():
                self.turn()
        except BaseException as error:  # noqa: BLE001  # a worker whose schedules stand still must not look alive
            self._on_crash(error)
        finally:
            self._end_reading()

    def figures(self) -> list[ScheduleFigures]:
        """The figures of each queue at this moment; called by any thread."""
        return [self._figures_of(fired) for fired in self._fired_queues]

    def _figures_of(self, fired: _FiredQueue) -> ScheduleFigures:
        due_at, is_ours = fired.due_at, fired.is_ours
        overdue_s = 0.0 if due_at is None else max(0.0, self._parts.clock() - due_at.timestamp())
        return ScheduleFigures(
            queue=fired.queue,
            schedules=fired.schedules.armed if is_ours else None,
            overdue_s=overdue_s if is_ours else None,
            instants=fired.schedules.instants,
        )

    def turn(self) -> None:
        """Read what has come, and fire what is due; or wait for a moment."""
        owned = [fired for fired in self._fired_queues if self._is_ours(fired)]
        if not owned:
            self._end_reading()
            self._stopped.wait(LOOK_S)
            return
        changed = self._read(owned)
        for fired in owned:
            self._serve(fired, changed)

    def _is_ours(self, fired: _FiredQueue) -> bool:
        fired.is_ours = self._parts.owns_first(fired.queue)
        if not fired.is_ours:
            fired.leave()
        return fired.is_ours

    # ---- the topic

    def _read(self, owned: Iterable[_FiredQueue]) -> set[str]:
        """Read what has come, or wait for it until something is due; gives the names that have changed."""
        reader = self._reader
        if reader is None:
            reader = self._reader = self._parts.make_reader()
            self._book, self._end_at_start = ScheduleBook(), None
        if self._end_at_start is None and not self._begin(reader):
            return set()
        return self._book.take(reader.read(self._wait_s(owned)))

    def _begin(self, reader: SchedulesReader) -> bool:
        try:
            first, self._end_at_start = reader.ask_end(ASK_S)
        except KafkaException as failed:
            self._report_unread(failed)
            self._stopped.wait(AGAIN_S)
            return False
        reader.start(first)
        return True

    def _report_unread(self, failed: KafkaException) -> None:
        for fired in self._fired_queues:
            fired.note_failure(failed)

    def _wait_s(self, owned: Iterable[_FiredQueue]) -> float:
        now = self._now()
        due = [(fired.schedules.wake_at, fired.pace_left_s) for fired in owned if fired.is_armed]
        left = [max((at - now).total_seconds(), pace_s) for at, pace_s in due if at is not None]
        return max(0.0, min([LOOK_S, *left]))

    @property
    def _is_caught_up(self) -> bool:
        reader = self._reader
        return (
            reader is not None
            and self._end_at_start is not None
            and (reader.is_at_end or reader.position >= self._end_at_start)
        )

    def _end_reading(self) -> None:
        for fired in self._fired_queues:
            fired.leave()
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()

    # ---- a queue

    def _serve(self, fired: _FiredQueue, changed: set[str]) -> None:
        try:
            if fired.is_armed:
                self._fire(fired, changed)
            else:
                self._take_over(fired)
        except TransactionFailed as failed:
            fired.note_failure(failed)
            if fired.due_at is None:
                fired.due_at = fired.schedules.due_at_in(self._book, self._names_of(fired))
        if fired.is_armed:
            fired.due_at = fired.schedules.due_at

    def _fire(self, fired: _FiredQueue, changed: set[str]) -> None:
        if changed:
            fired.schedules.arm(self._book, changed)
        fired.fire_due(self._now())
        fired.note_success()

    def _take_over(self, fired: _FiredQueue) -> None:
        if fired.read_up_to is None:
            if not self._is_caught_up or fired.is_resting or not self._names_of(fired):
                return
            fired.read_up_to = -1
            fired.read_up_to = fired.schedules.take_over(self._now()).offset
        reader = self._reader
        if reader is not None and reader.position > fired.read_up_to:
            names = self._names_of(fired)
            fired.schedules.arm(self._book, names)
            fired.is_armed = True
            _LOGGER.info(
                "this worker fires the schedules of queue %r: %d of them", fired.queue, len(names),
                extra={log_keys.QUEUE: fired.queue, log_keys.COUNT: len(names)},
            )  # fmt: skip

    def _names_of(self, fired: _FiredQueue) -> list[str]:
        schedules: Mapping[str, ScheduleRecord] = self._book.schedules
        return [name for name, schedule in schedules.items() if schedule.queue == fired.queue]

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._parts.clock(), UTC)
