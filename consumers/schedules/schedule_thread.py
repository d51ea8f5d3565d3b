"""`ScheduleThread`: fires the schedules of those queues of which this process owns the first partition.

So each queue has one process that fires, and the group chooses it: no other election, and no process of its own. For a
moment there may be two of them; then the brokers shut out the older one (`queue_schedules.py`). A process that owns no
first partition reads nothing and waits.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Protocol

from confluent_kafka import KafkaException, Message

from ...producers.schedules.book import ScheduleBook
from ..guarded_thread import GuardedThread
from .fired_queue import AGAIN_S, FiredQueue, ReadSchedules, ScheduleFigures
from .queue_schedules import QueueSchedules

_LOGGER = logging.getLogger("stoker.schedules")

LOOK_S: Final = 0.2
"""How often the thread looks whether partitions have come or gone."""
ASK_S: Final = 5.0


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


class ScheduleThread:
    """Fires until it is stopped."""

    def __init__(self, parts: ScheduleThreadParts, *, on_crash: Callable[[BaseException], None]) -> None:
        self._parts = parts
        self._fired_queues = [
            FiredQueue(queue, schedules, parts.monotonic) for queue, schedules in parts.schedules.items()
        ]
        self._stopped = threading.Event()
        self._reader: SchedulesReader | None = None
        self._book = ScheduleBook()
        self._end_at_start: int | None = None
        self._thread = GuardedThread("stoker-schedules", self._run, on_crash, at_end=self._end_reading)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Begin to end; called from any thread."""
        self._stopped.set()

    def join(self, timeout_s: float) -> None:
        """Wait for its end, for so long at the most."""
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._stopped.is_set():
            self.turn()

    def figures(self) -> list[ScheduleFigures]:
        """The figures of each queue at this moment; called by any thread."""
        return [fired.figures(self._parts.clock()) for fired in self._fired_queues]

    def turn(self) -> None:
        """Read what has come, and fire what is due; or wait for a moment."""
        owned = [fired for fired in self._fired_queues if fired.look(self._parts.owns_first(fired.queue))]
        if not owned:
            self._end_reading()
            self._stopped.wait(LOOK_S)
            return
        changed = self._read(owned)  # before the book is looked at: a reader that begins has another one
        read = ReadSchedules(self._book, changed, self._position, self._is_caught_up, self._ask_records_end)
        for fired in owned:
            fired.serve(read, self._now())

    # ---- the topic

    def _read(self, owned: Iterable[FiredQueue]) -> set[str]:
        """Read what has come, or wait for it until something is due; returns the names that have changed."""
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

    def _ask_records_end(self) -> int:
        """Ask for the offset behind the last record. All are written in transactions, whose marker comes behind it.

        Raises:
            KafkaException: the brokers do not answer.
        """
        return -1 if self._reader is None else self._reader.ask_end(ASK_S)[1] - 1

    def _report_unread(self, failed: KafkaException) -> None:
        for fired in self._fired_queues:
            fired.note_failure(failed)

    def _wait_s(self, owned: Iterable[FiredQueue]) -> float:
        now = self._now()
        return max(0.0, min([LOOK_S, *(fired.wake_in_s(now) for fired in owned)]))

    @property
    def _position(self) -> int:
        return -1 if self._reader is None else self._reader.position

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

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._parts.clock(), UTC)
