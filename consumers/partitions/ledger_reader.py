"""`read_ledger`: reads back the ledger of a partition that was assigned, as much of it as its window needs.

A ledger is read from its end, in stretches that become longer, until it has a window of completed jobs. Of the names
that have moved on, those of single records are mostly of no use by then: their records are complete by the commit, and
are not delivered again unless the partition begins anew. Of these it keeps hashes alone.
"""

from __future__ import annotations

import logging
import math
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from itertools import compress
from operator import not_
from typing import Final

from confluent_kafka import Consumer, Message, TopicPartition

from ...schemas import Undecodable
from ...topology import Queue
from ...topology.counts import counted
from ...topology.wire.ledger_names import MOVED
from .. import log_keys
from ..kafka.log_tail import REQUEST_TIMEOUT_S, ShouldStop, read_tail
from ..unique.ends import end_in
from ..unique.holders import Holders
from .ledger import Ledger
from .ledger_records import BATCH_NAMES, names_of

_LOGGER = logging.getLogger("stoker.ledger")

FIRST_SPAN_RECORDS: Final = 500
"""Read first: under load a record holds hundreds of completed jobs, else one; more follow until the window is full."""
NEXT_SPAN_FACTOR: Final = 4

IsComplete = Callable[[str], bool]
"""Whether a name is that of a record which is complete by what its partition's last owner has committed."""


def read_ledger(
    consumer: Consumer,
    queue: Queue,
    partition: int,
    is_complete: IsComplete,
    should_stop: ShouldStop,
    ends_since_at_s: float | None = None,
) -> Ledger:
    """Read the ledger of a partition.

    Args:
        ends_since_at_s: since when, in epoch seconds, ends of unique jobs are needed.

    Raises:
        Unrestorable, KafkaException: the brokers did not answer within a bounded time, or `should_stop` returned true.
    """
    return _Reading(consumer, queue, partition, is_complete, should_stop, ends_since_at_s).ledger()


class _Stretch:
    """The names of some records that follow one another, in their order: of jobs, of what has moved on, and when."""

    def __init__(self) -> None:
        self.names: list[tuple[list[str], list[str], float]] = []
        self.complete_before = array("q")
        self.first_at_s: float | None = None


class _Reading:
    """Reads one ledger."""

    def __init__(
        self,
        consumer: Consumer,
        queue: Queue,
        partition: int,
        is_complete: IsComplete,
        should_stop: ShouldStop,
        ends_since_at_s: float | None,
    ) -> None:
        self._consumer, self._queue, self._partition = consumer, queue, partition
        self._is_complete, self._should_stop = is_complete, should_stop
        self._jobs: set[str] = set()
        self._takes_names = True
        self._unreadable: list[int] = []
        self._holders = Holders(queue.unique, queue.ledger.jobs) if queue.unique else None
        self._ends_since_at_s = math.inf if ends_since_at_s is None else ends_since_at_s

    def ledger(self) -> Ledger:
        """The names of the window, the oldest first."""
        stretches = list(self._stretches())
        self._log_unreadable()
        ledger = Ledger(self._queue.ledger, time.time, self._holders)
        for stretch in reversed(stretches):
            for jobs, moved, at_s in stretch.names:
                ledger.add_former(jobs, moved, at_s)
        ledger.note_complete_before(hashed for stretch in stretches for hashed in reversed(stretch.complete_before))
        return ledger

    def _stretches(self) -> Iterator[_Stretch]:
        """Read the topic's end, and what lies before as long as that holds fewer jobs than the window takes."""
        window = self._queue.ledger
        low, high = self._consumer.get_watermark_offsets(self._place(0), timeout=REQUEST_TIMEOUT_S)
        span, end = FIRST_SPAN_RECORDS, high
        while low < end:
            start = max(low, high - span)
            stretch = self._read(start, end)
            yield stretch
            is_old = stretch.first_at_s is not None and time.time() - stretch.first_at_s > window.age.total_seconds()
            has_ends = (stretch.first_at_s or 0.0) <= self._ends_since_at_s
            if is_old or (self._is_full and has_ends):
                return
            end, span = start, span * NEXT_SPAN_FACTOR

    @property
    def _is_full(self) -> bool:
        return len(self._jobs) >= self._queue.ledger.jobs

    def _read(self, start: int, end: int) -> _Stretch:
        stretch, self._takes_names = _Stretch(), not self._is_full
        for message in read_tail(self._consumer, self._place(start), end, self._should_stop):
            if (message.offset() or 0) < end:
                self._take(message, stretch)
        return stretch

    def _place(self, offset: int) -> TopicPartition:
        return TopicPartition(self._queue.ledger_topic, self._partition, offset)

    def _take(self, message: Message, stretch: _Stretch) -> None:
        """Take up what a record of the ledger names."""
        at_s = message.timestamp()[1] / 1_000
        if stretch.first_at_s is None:
            stretch.first_at_s = at_s
        if not self._take_end(message) and self._takes_names:
            self._take_names(message, stretch, at_s)

    def _take_end(self, message: Message) -> bool:
        """Take up the end of a unique job; False where the record is of another kind."""
        if self._holders is None:
            return False
        key, value = message.key(), message.value()
        end = None if key is None or value is None else end_in(_bytes(key), _bytes(value))
        if end is not None:
            self._holders.restore_end(end)
        return end is not None

    def _take_names(self, message: Message, stretch: _Stretch, at_s: float) -> None:
        names = self._names(message)
        jobs = [name for name in names if not name.startswith(MOVED)]
        moved = [name for name in names if name.startswith(MOVED)] if len(jobs) < len(names) else []
        is_complete = list(map(self._is_complete, moved))
        self._jobs.update(jobs)
        stretch.complete_before.extend(map(hash, compress(moved, is_complete)))
        stretch.names.append((jobs, list(compress(moved, map(not_, is_complete))), at_s))

    def _names(self, message: Message) -> Sequence[str]:
        key, value = message.key(), message.value()
        if key is None or value is None:
            return ()
        try:
            return names_of(_bytes(key), _bytes(value))
        except Undecodable:
            self._unreadable.append(message.offset() or 0)
            return ()

    def _log_unreadable(self) -> None:
        offsets = sorted(self._unreadable)
        if offsets:
            extra: dict[str, object] = {log_keys.QUEUE: self._queue.name, log_keys.PARTITIONS: [self._partition]}
            _LOGGER.warning(
                "%s/%d: %s cannot be read, the first at offset %d: the up to %d completed jobs in each are not "
                "remembered, so a repetition of one of them runs",
                self._queue.ledger_topic, self._partition, counted(len(offsets), "batch", "batches"), offsets[0],
                BATCH_NAMES,
                extra={**extra, log_keys.COUNT: len(offsets)},
            )  # fmt: skip


def _bytes(value: bytes | str) -> bytes:
    return value.encode() if isinstance(value, str) else value
