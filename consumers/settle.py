"""Settling: makes outcomes durable in groups, and only then tells the poll thread that their records are complete.

One thread for each queue collects what the runners hand in, and settles a group in two strides, each ended by a
barrier: first the retry and dead-letter records are confirmed by the brokers, then the ledger's entries. A crash
between the two leaves a second record of the same attempt in a tier, which the ledger stops when its twin has run; a
crash the other way round would lose the job, so the order is what it is. Events ride with the second stride and hold
nothing up. A write that fails is repeated until it succeeds; its source record stays incomplete, so it is never
committed past.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from ..schemas import encode_own
from ..topology import Queue
from ..topology.headers import ERROR_STACK
from . import log_keys
from .outcomes import Outcome
from .record import Record
from .writes import LedgerWord, Writes, plan_writes, utc

_LOGGER = logging.getLogger("stoker.settle")

GROUP_LIMIT: Final = 2_000
RETRY_PAUSE_S: Final = 0.5
LINGER_S: Final = 0.01
"""A group costs two round trips, however small it is."""
STILL_WAITING_S: Final = 5.0
"""How long the brokers may take to confirm before the worker says so, and again each time."""

TOO_LARGE_CODES: Final = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE})

ProducerFactory = Callable[[], Producer]


_Entry = tuple["Settlement", bytes, LedgerWord]


@dataclass(slots=True, eq=False)
class Settlement:
    """A record with its outcome, until it is settled."""

    record: Record
    outcome: Outcome
    writes: Writes
    error: KafkaError | None = None


class Settler:
    """The settling thread of one queue."""

    def __init__(
        self,
        queue: Queue,
        *,
        events_topic: str,
        worker_id: str,
        make_producer: ProducerFactory,
        on_settled: Callable[[list[Settlement]], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._queue = queue
        self._events_topic = events_topic
        self._worker_id = worker_id
        self._make_producer = make_producer
        self._producer = make_producer()
        self._on_settled = on_settled
        self._clock = clock
        self._handed_in: deque[tuple[Record, Outcome]] = deque()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._give_up_at_s = float("inf")
        self._in_trouble_since_s: float | None = None
        self._last_group_s = 0.0
        self._repeat_s = 0.0
        self._reported_s = 0.0
        self._thread = threading.Thread(target=self._run, name=f"stoker-settle-{queue.name}", daemon=True)
        self.crashed: BaseException | None = None

    def start(self) -> None:
        """Begin to settle."""
        self._thread.start()

    def hand_in(self, record: Record, outcome: Outcome) -> None:
        """Take an outcome from a runner; never blocks."""
        self._handed_in.append((record, outcome))
        if not self._wake.is_set():
            self._wake.set()

    def stop(self, within: timedelta) -> None:
        """Settle what was handed in, for so long at the most, and end; what is left will be delivered again."""
        self._give_up_at_s = time.monotonic() + within.total_seconds()
        self._stopping.set()
        self._wake.set()
        self._thread.join(within.total_seconds() + STILL_WAITING_S)

    def _run(self) -> None:
        failed: list[Settlement] = []
        try:
            while not (self._stopping.is_set() and self._has_ended(failed)):
                self._wake.wait(RETRY_PAUSE_S if failed else None)
                self._wake.clear()
                self._gather_company()
                failed = self._settle_group(self._collect()) + self._repeat_if_due(failed)
                self._report(failed)
                if self._handed_in:
                    self._wake.set()
        except GaveUp as end:
            _LOGGER.error("%s", end, extra={log_keys.QUEUE: self._queue.name})
        except BaseException as error:  # the worker must not live on without its settling: it sees this and stops
            self.crashed = error
            raise

    def _gather_company(self) -> None:
        """Under load, wait a little for more outcomes to settle together; one after a quiet time goes at once."""
        now_s = time.monotonic()
        if now_s - self._last_group_s < LINGER_S:
            self._stopping.wait(LINGER_S)
        self._last_group_s = time.monotonic()

    def _has_ended(self, failed: list[Settlement]) -> bool:
        return (not failed and not self._handed_in) or time.monotonic() > self._give_up_at_s

    def _repeat_if_due(self, failed: list[Settlement]) -> list[Settlement]:
        """Try once more what failed, after a pause, and beside what is new: one in trouble does not hold up others."""
        if not failed or time.monotonic() < self._repeat_s:
            return failed
        self._repeat_s = time.monotonic() + RETRY_PAUSE_S
        return self._settle_group([slimmer(item) for item in failed])

    def _collect(self) -> list[Settlement]:
        now = utc(self._clock())
        group: list[Settlement] = []
        while self._handed_in and len(group) < GROUP_LIMIT:
            record, outcome = self._handed_in.popleft()
            writes = plan_writes(record, outcome, queue=self._queue, worker_id=self._worker_id, now=now)
            group.append(Settlement(record, outcome, writes))
        return group

    def _settle_group(self, group: list[Settlement]) -> list[Settlement]:
        """Settle a group; give those whose writes failed."""
        try:
            if group:
                self._settle(group)
        except KafkaException as failure:  # a fatal error of the client ends a barrier in this way
            for item in group:
                item.error = as_error(failure)
        settled = [item for item in group if item.error is None]
        if settled:
            self._on_settled(settled)
        return [item for item in group if item.error is not None]

    def _settle(self, group: list[Settlement]) -> None:
        for item in group:
            item.error = None
        moving = [item for item in group if item.writes.record is not None]
        self._publish_records(moving)
        durable = [item for item in group if item.error is None] if moving else group
        for item in moving:
            if item.error is None:
                item.writes.record = None  # confirmed: should the ledger fail now, only the ledger is repeated
        self._publish_ledger(durable)
        self._publish_events(durable)
        self._wait_confirmed()

    def _publish_records(self, group: Iterable[Settlement]) -> None:
        published = False
        for item in group:
            self._publish_record(item)
            published = True
        if published:
            self._wait_confirmed()

    def _publish_record(self, item: Settlement) -> None:
        following = item.writes.record
        if following is None:
            return

        def note(error: KafkaError | None, _message: Message) -> None:
            item.error = error or item.error

        try:
            self._producer.produce(
                following.topic,
                value=item.record.value,
                key=item.record.key,
                headers=following.headers,  # type: ignore[arg-type]  # the stub wants str | bytes values in an invariant list
                partition=item.record.assignment.partition,
                on_delivery=note,
            )
        except (BufferError, KafkaException) as failure:
            item.error = as_error(failure)

    def _publish_ledger(self, group: Iterable[Settlement]) -> None:
        by_partition: defaultdict[int, list[_Entry]] = defaultdict(list)
        for item in group:
            if item.writes.ledger is not None:
                name, word = item.writes.ledger
                by_partition[item.record.assignment.partition].append((item, name.encode(), word))
        values = self._ledger_values()
        for partition, entries in by_partition.items():
            self._publish_ledger_partition(partition, entries, values)

    def _ledger_values(self) -> dict[LedgerWord, bytes]:
        at = utc(self._clock())
        words: tuple[LedgerWord, ...] = ("done", "moved", "cancelled")
        return {word: encode_own("LedgerEntry", {"outcome": word, "at": at}) for word in words}

    def _publish_ledger_partition(self, partition: int, entries: list[_Entry], values: dict[LedgerWord, bytes]) -> None:
        def note(error: KafkaError | None, message: Message) -> None:
            for item, name, _ in entries:
                if error is not None and name == message.key():
                    item.error = error

        messages: list[dict[str, Any]] = [{"key": name, "value": values[word]} for _, name, word in entries]
        topic = self._queue.ledger_topic
        try:
            queued = self._producer.produce_batch(topic, messages, partition=partition, on_delivery=note)
        except (BufferError, KafkaException) as failure:
            for item, _, _ in entries:
                item.error = as_error(failure)
            return
        if queued < len(messages):
            for (item, _, _), message in zip(entries, messages, strict=True):
                item.error = message.get("_error", item.error)

    def _publish_events(self, group: Iterable[Settlement]) -> None:
        for item in group:
            if item.writes.event is not None:
                self._publish_event(item.writes.event)

    def _publish_event(self, event: dict[str, object]) -> None:
        def note(error: KafkaError | None, _message: Message) -> None:
            if error is not None:
                _LOGGER.warning("an event of job %s could not be written: %s", event["job_id"], error)

        key = str(event["job_id"])
        try:
            self._producer.produce(
                self._events_topic,
                key=key.encode("utf-8", "backslashreplace"),
                value=encode_own("JobEvent", event),
                on_delivery=note,
            )
        except (BufferError, KafkaException, TypeError, ValueError, OverflowError) as failure:
            _LOGGER.warning("an event of job %s could not be written: %s", key, failure)

    def _wait_confirmed(self) -> None:
        """Wait until everything published is confirmed or failed; librdkafka bounds that by `message.timeout.ms`."""
        while self._producer.flush(STILL_WAITING_S):
            self._begin_trouble(
                "the brokers have not confirmed outcomes for %g s; jobs wait, none is lost", STILL_WAITING_S
            )
            if time.monotonic() > self._give_up_at_s:
                raise GaveUp(self._queue.name)

    def _begin_trouble(self, message: str, *args: object) -> None:
        """Say it at once, and again every few seconds while it lasts."""
        now_s = time.monotonic()
        if self._in_trouble_since_s is None:
            self._in_trouble_since_s = now_s
        elif now_s - self._reported_s < STILL_WAITING_S:
            return
        self._reported_s = now_s
        _LOGGER.error(message, *args, extra={log_keys.QUEUE: self._queue.name})

    def _report(self, failed: list[Settlement]) -> None:
        if failed:
            first = failed[0]
            self._begin_trouble(
                "outcomes of %d jobs cannot be written, first that of %s: %s; they stay uncommitted, trying again",
                len(failed), first.record, first.error,
            )  # fmt: skip
            if any(is_fatal(item.error) for item in failed):
                self._producer = self._make_producer()
        elif self._in_trouble_since_s is not None:
            lasted_s = time.monotonic() - self._in_trouble_since_s
            self._in_trouble_since_s = None
            _LOGGER.warning(
                "outcomes can be written again, after %.1f s", lasted_s, extra={log_keys.QUEUE: self._queue.name}
            )


class GaveUp(Exception):
    """A shutdown's time ran out while the brokers did not confirm; what was not settled will be delivered again."""

    def __init__(self, queue: str) -> None:
        super().__init__(f"queue {queue!r}: the brokers did not confirm the last outcomes before the shutdown's end")


def as_error(failure: BufferError | KafkaException) -> KafkaError:
    """Why a record could not even be queued."""
    error = failure.args[0] if isinstance(failure, KafkaException) else None
    return error if isinstance(error, KafkaError) else KafkaError(KafkaError._QUEUE_FULL)


def is_fatal(error: KafkaError | None) -> bool:
    """Whether the client that said so cannot be used any more."""
    return error is not None and (error.fatal() or error.code() == KafkaError._FATAL)


def slimmer(item: Settlement) -> Settlement:
    """What to try next: where the record was too large for its topic, the same without the error's stack."""
    following, error = item.writes.record, item.error
    if following is None or error is None or error.code() not in TOO_LARGE_CODES:
        return item
    headers = [pair for pair in following.headers if pair[0] != ERROR_STACK]
    return Settlement(item.record, item.outcome, replace(item.writes, record=replace(following, headers=headers)))
