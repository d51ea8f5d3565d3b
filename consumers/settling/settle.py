"""Settling: makes outcomes durable in batches, and only then tells the poll thread that their records are complete.

One thread for each queue collects what the runners hand in, and settles a batch in two phases, each ended by a
flush: first the retry and dead-letter records are confirmed by the brokers, then the ledger's entries. A crash
between the two leaves a second record of the same attempt in a tier, which the ledger stops when its twin has run; a
crash the other way round would lose the job, so the order is what it is. A write that fails is repeated until it
succeeds; its source record stays incomplete, so it is never committed past. A record that can never be written in its
form, such as one that is too large, is given another (`fitting.py`), and goes beside all others (`lone_records.py`).
The event of an outcome is handed over once it is settled, to a client of its own that nobody waits for.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from ...producers.delivery import why_unconfirmed
from ...topology import Queue
from ...topology.cluster.kafka_errors import Remedy, as_error, is_fatal, remedy_of
from .. import log_keys
from ..partitions.ledger_records import BATCH_NAMES, KeyAndValue, batch_record, entry_record
from ..records.job_fields import job_fields
from ..records.outcomes import Done, NotDone, Outcome
from ..records.record import Record
from .event_publisher import Event
from .lone_records import LoneRecords
from .settlement import Settlement, SettlementBatch, merged
from .writes import plan_writes, utc

_LOGGER = logging.getLogger("stoker.settle")

BATCH_LIMIT: Final = 2_000
RETRY_PAUSE_S: Final = 0.5
LINGER_S: Final = 0.01
"""A batch costs two round trips, however small it is."""
STILL_WAITING_S: Final = 5.0
"""How long the brokers may take to confirm before the worker says so."""
REPORT_EVERY_S: Final = 60.0
"""How often the settler reports that outcomes are not written, while it lasts."""
LOOK_IN_S: Final = 0.02
"""How often the settler looks for answers to the records that go alone, while there are some."""

_IN_VAIN: Final = (
    "waiting does not help: mend what the brokers refuse (`stoker doctor` looks at topics, limits and rights). Until "
    "then they stay uncommitted, and are tried again"
)

ProducerFactory = Callable[[], Producer]
_FailedBatch = tuple[list[Record], KafkaError]
_Failed = tuple[list[Record], KafkaError | None]


class Settler:
    """The settling thread of one queue.

    `stranded` counts the outcomes that cannot be written until a person mends something: a shutdown waits for none.
    """

    def __init__(
        self,
        queue: Queue,
        *,
        publish_event: Callable[[Event], None],
        worker_id: str,
        make_producer: ProducerFactory,
        make_lone_producer: ProducerFactory | None = None,
        on_settled: Callable[[SettlementBatch], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._queue = queue
        self._publish_event = publish_event
        self._worker_id = worker_id
        self._make_producer = make_producer
        self._producer = make_producer()
        self._lone = LoneRecords(queue, make_lone_producer or make_producer, self._plan)
        self._on_settled = on_settled
        self._clock = clock
        self._done: deque[Record] = deque()
        self._others: deque[tuple[Record, NotDone]] = deque()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._give_up_at_s = float("inf")
        self._in_trouble_since_s: float | None = None
        self._last_batch_at_s = 0.0
        self._repeat_at_s = 0.0
        self._reported: dict[str, float] = {}
        self._batch_names = BATCH_NAMES
        self.stranded = 0
        self._thread = threading.Thread(target=self._run, name=f"stoker-settle-{queue.name}", daemon=True)
        self.crashed: BaseException | None = None

    def start(self) -> None:
        """Begin to settle."""
        self._thread.start()

    def hand_in(self, record: Record, outcome: Outcome) -> None:
        """Take an outcome from a runner; never blocks."""
        if isinstance(outcome, Done):
            self._done.append(record)
        else:
            self._others.append((record, outcome))
        if not self._wake.is_set():
            self._wake.set()

    def stop(self, within: timedelta) -> None:
        """Settle what was handed in, for so long at the most, and end; what is left will be delivered again."""
        self._give_up_at_s = time.monotonic() + within.total_seconds()
        self._stopping.set()
        self._wake.set()
        self._thread.join(within.total_seconds() + STILL_WAITING_S)

    @property
    def producer(self) -> Producer:
        """The client that writes outcomes."""
        return self._producer

    @property
    def is_in_trouble(self) -> bool:
        """Whether the brokers do not take outcomes at this moment."""
        return self._in_trouble_since_s is not None

    def _run(self) -> None:
        failed = SettlementBatch()
        try:
            while not (self._stopping.is_set() and self._has_ended(failed)):
                self._wake.wait(LOOK_IN_S if self._lone else RETRY_PAUSE_S if failed else None)
                self._wake.clear()
                self._gather_company()
                failed = self.settle_next(failed)
                if self._done or self._others:
                    self._wake.set()
        except GaveUp as end:
            _LOGGER.error("%s", end, extra={log_keys.QUEUE: self._queue.name})
        except BaseException as error:  # the worker must not live on without its settling: it sees this and stops
            self.crashed = error
            raise

    def settle_next(self, failed: SettlementBatch) -> SettlementBatch:
        """Settle what was handed in, and once more what has failed before; give what has failed."""
        answered = self._lone.serve()
        failed = merged(self._settle_batch(merged(self._collect(), answered)), self._repeat_if_due(failed))
        failed = merged(failed, self._lone.take_failed())
        self._report(failed)
        return failed

    def _gather_company(self) -> None:
        """Under load, wait a little for more outcomes to settle together; one after a quiet time goes at once."""
        now_s = time.monotonic()
        if now_s - self._last_batch_at_s < LINGER_S:
            self._stopping.wait(LINGER_S)
        self._last_batch_at_s = time.monotonic()

    def _has_ended(self, failed: SettlementBatch) -> bool:
        unsettled = self._done or self._others or self._lone or len(failed) > self.stranded
        return not unsettled or time.monotonic() > self._give_up_at_s

    def _repeat_if_due(self, failed: SettlementBatch) -> SettlementBatch:
        """Try once more what failed, after a pause, and beside what is new: one in trouble does not hold up others."""
        if not failed or time.monotonic() < self._repeat_at_s:
            return failed
        self._repeat_at_s = time.monotonic() + RETRY_PAUSE_S
        return self._settle_batch(failed)

    def _collect(self) -> SettlementBatch:
        done = [self._done.popleft() for _ in range(min(len(self._done), BATCH_LIMIT))]
        others = [self._others.popleft() for _ in range(min(len(self._others), BATCH_LIMIT))]
        return SettlementBatch(done, [self._plan(record, outcome) for record, outcome in others])

    def _plan(self, record: Record, outcome: NotDone) -> Settlement:
        now = utc(self._clock())
        return Settlement(
            record, outcome, plan_writes(record, outcome, queue=self._queue, worker_id=self._worker_id, now=now)
        )

    def _settle_batch(self, batch: SettlementBatch) -> SettlementBatch:
        """Settle a group; give what of it could not be written."""
        batch.others = self._lone.take_out(batch.others)
        if not batch:
            return batch
        for item in batch.others:
            item.error = None
        try:
            undone, done_error = self._settle(batch)
        except KafkaException as failure:  # a fatal error of the client ends a barrier in this way
            for item in batch.others:
                item.error = as_error(failure)
            return SettlementBatch(batch.done, batch.others, as_error(failure))
        refused = [item for item in batch.others if item.error is not None]
        failed = SettlementBatch(undone, [item for item in refused if not self._lone.take_refused(item)], done_error)
        if undone:
            repeated = set(undone)
            batch.done = [record for record in batch.done if record not in repeated]
        batch.others = [item for item in batch.others if item.error is None]
        if batch:
            self._on_settled(batch)
        self._tell(batch)
        return failed

    def _tell(self, settled: SettlementBatch) -> None:
        """Publish the events of what is settled: one for each outcome, however often its writes were repeated."""
        for item in settled.others:
            if item.writes.event is not None:
                self._publish_event(item.writes.event)

    def _settle(self, batch: SettlementBatch) -> _Failed:
        moving = [item for item in batch.others if item.writes.record is not None]
        self._publish_records(moving)
        durable = [item for item in batch.others if item.error is None]
        for item in durable:
            item.writes.record = None  # confirmed: should the ledger fail now, only the ledger is repeated
        failed = self._publish_done(batch.done)
        self._publish_entries(durable)
        self._wait_confirmed()
        if any(remedy_of(error) is Remedy.SHRINK for _, error in failed):
            self._batch_names = max(1, self._batch_names // 2)
        return [record for records, _ in failed for record in records], failed[0][1] if failed else None

    def _publish_records(self, items: Iterable[Settlement]) -> None:
        published = False
        for item in items:
            self._publish_record(item)
            published = True
        if published:
            self._wait_confirmed()

    def _publish_record(self, item: Settlement) -> None:
        following = item.writes.record
        if following is None:
            return

        def note(error: KafkaError | None, message: Message) -> None:
            item.error = why_unconfirmed(error, message) or item.error

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

    def _publish_done(self, done: Iterable[Record]) -> list[_FailedBatch]:
        """Queue the names of completed jobs; what cannot be written is in the list once all is confirmed or failed."""
        by_partition: defaultdict[int, list[Record]] = defaultdict(list)
        for record in done:
            by_partition[record.assignment.partition].append(record)
        failed: list[_FailedBatch] = []
        for partition, records in by_partition.items():
            for start in range(0, len(records), self._batch_names):
                self._publish_batch(partition, records[start : start + self._batch_names], failed)
        return failed

    def _publish_batch(self, partition: int, records: list[Record], failed: list[_FailedBatch]) -> None:
        names = [record.deduplication_id for record in records if record.deduplication_id is not None]
        self._publish_ledger(
            partition, batch_record(names, utc(self._clock())), lambda error: failed.append((records, error))
        )

    def _publish_entries(self, items: Iterable[Settlement]) -> None:
        for item in items:
            if item.writes.ledger is not None:
                entry = entry_record(*item.writes.ledger, utc(self._clock()))
                self._publish_ledger(item.record.assignment.partition, entry, item.fail)

    def _publish_ledger(self, partition: int, what: KeyAndValue, on_failure: Callable[[KafkaError], None]) -> None:
        def note(error: KafkaError | None, message: Message) -> None:
            fault = why_unconfirmed(error, message)
            if fault is not None:
                on_failure(fault)

        key, value = what
        try:
            self._producer.produce(
                self._queue.ledger_topic, key=key, value=value, partition=partition, on_delivery=note
            )
        except (BufferError, KafkaException) as failure:
            on_failure(as_error(failure))

    def _wait_confirmed(self) -> None:
        """Wait until everything published is confirmed or failed; librdkafka bounds that by `message.timeout.ms`."""
        while self._producer.flush(STILL_WAITING_S):
            self._begin_trouble(
                "the brokers have not confirmed outcomes for %g s; jobs wait, none is lost", STILL_WAITING_S
            )
            if time.monotonic() > self._give_up_at_s:
                raise GaveUp(self._queue.name)

    def _begin_trouble(self, message: str, *args: object, first: Record | None = None) -> None:
        """Log each sort of trouble at once, and again every minute while it lasts."""
        now_s = time.monotonic()
        if self._in_trouble_since_s is None:
            self._in_trouble_since_s = now_s
            self._reported.clear()
        if now_s - self._reported.get(message, -REPORT_EVERY_S) < REPORT_EVERY_S:
            return
        self._reported[message] = now_s
        extra = {log_keys.QUEUE: self._queue.name} if first is None else job_fields(first, self._queue.name)
        _LOGGER.error(message, *args, extra=extra)

    def _report(self, failed: SettlementBatch) -> None:
        self.stranded = failed.stranded
        if failed:
            record, error, topic = failed.first_error
            self._begin_trouble(
                "outcomes of %d jobs cannot be written, first that of %s to %s: %s; %s",
                len(failed), record, topic or self._queue.ledger_topic,
                "no answer" if error is None else error.str(),
                _IN_VAIN if self.stranded else "they stay uncommitted, trying again",
                first=record,
            )  # fmt: skip
            if is_fatal(failed.done_error) or any(is_fatal(item.error) for item in failed.others):
                self._producer = self._make_producer()
        elif self._in_trouble_since_s is not None and not self._lone:
            lasted_s = time.monotonic() - self._in_trouble_since_s
            self._in_trouble_since_s = None
            _LOGGER.warning(
                "outcomes can be written again, after %.1f s", lasted_s, extra={log_keys.QUEUE: self._queue.name}
            )


class GaveUp(Exception):
    """A shutdown's time ran out while the brokers did not confirm; what was not settled will be delivered again."""

    def __init__(self, queue: str) -> None:
        super().__init__(f"queue {queue!r}: the brokers did not confirm the last outcomes before the shutdown's end")
