"""`BatchWriter`: writes the records and the ledger entries of a batch, and waits until the brokers have confirmed them.

The settler calls it, once for each of its two phases. What is confirmed is not written again when the rest of its
settlement is.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Final, TypeVar

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from ...producers.delivery import why_unconfirmed
from ...topology import Queue
from ...topology.cluster.kafka_errors import Remedy, as_error, remedy_of
from ...topology.log_pace import LogPace
from ..partitions.ledger_records import BATCH_NAMES, KeyAndValue, batch_record, entry_record
from ..progress.assignment import Assignment
from ..records.record import Record
from .outgoing import OutgoingRecord, produce
from .settlement import LedgerToWrite, Settlement, SettlementBatch
from .writes import LedgerState, utc

STILL_WAITING_S: Final = 5.0
"""How long the brokers may take to confirm before the worker logs it."""
LOOK_S: Final = 0.2
"""How often the writer looks meanwhile whether a shutdown waits for the brokers no longer."""

ProducerFactory = Callable[[], Producer]
_FailedNames = tuple[Sequence[Record], KafkaError]
_Named = TypeVar("_Named")


class BatchWriter:
    """Writes the batches of one queue; owned by the settling thread.

    Attributes:
        producer: the client that writes them.
    """

    def __init__(
        self, queue: Queue, make_producer: ProducerFactory, clock: Callable[[], float], on_silence: Callable[[], None]
    ) -> None:
        self._queue = queue
        self._make_producer = make_producer
        self._clock = clock
        self._on_silence = on_silence
        self._names_in_a_batch = BATCH_NAMES
        self.producer = make_producer()
        self._give_up_at_s = math.inf

    def give_up_after(self, within_s: float) -> None:
        """Wait for the brokers for so long at the most, as a shutdown asks for; called by any thread."""
        self._give_up_at_s = time.monotonic() + within_s

    @property
    def is_out_of_time(self) -> bool:
        """Whether that time is over."""
        return time.monotonic() > self._give_up_at_s

    def replace_client(self) -> None:
        """Go on with another client, since this one is finished."""
        self.producer = self._make_producer()

    # ---- the first phase

    def write_records(self, items: Iterable[Settlement]) -> None:
        """Write the records that follow outcomes; each settlement notes the brokers' answers.

        Raises:
            GaveUp: a shutdown's time ran out.
            KafkaException: the client is finished.
        """
        unconfirmed = [(item, written) for item in items for written in item.unconfirmed]
        for item, written in unconfirmed:
            self._publish_record(item, written)
        if unconfirmed:
            self._wait_confirmed()

    def _publish_record(self, item: Settlement, written: OutgoingRecord) -> None:
        try:
            produce(self.producer, written, partial(_note_answer, item, written))
        except (BufferError, KafkaException) as failure:
            item.note_answer(written, as_error(failure))

    # ---- the second phase

    def write_ledger(self, batch: SettlementBatch) -> tuple[list[Record], KafkaError | None]:
        """Write the names of what is settled now: of settlements whose records are all confirmed, and of done jobs.

        Returns:
            The done jobs whose names could not be written, and why.

        Raises:
            GaveUp: a shutdown's time ran out.
            KafkaException: the client is finished.
        """
        remembered = [item for item in batch.others if isinstance(item.stage, LedgerToWrite)]
        failed = self._publish_names(batch.done_parts)
        self._publish_entries(remembered)
        self._wait_confirmed()
        for item in remembered:
            if not item.refusals:
                item.finish()
        self._fit_batches([*(error for _, error in failed), *(r.error for item in remembered for r in item.refusals)])
        return [record for records, _ in failed for record in records], failed[0][1] if failed else None

    def _fit_batches(self, refusals: Iterable[KafkaError]) -> None:
        """Write smaller batches from now on where the topic takes none of this size."""
        if any(remedy_of(error) is Remedy.SHRINK for error in refusals):
            self._names_in_a_batch = max(1, self._names_in_a_batch // 2)

    def _publish_names(self, done: Iterable[tuple[Assignment, list[Record]]]) -> list[_FailedNames]:
        """Publish the names of done jobs; what cannot be written is in the list once all is confirmed or failed."""
        by_partition: defaultdict[int, list[Record]] = defaultdict(list)
        for assignment, records in done:
            by_partition[assignment.partition] += records
        failed: list[_FailedNames] = []
        for partition, records in by_partition.items():
            for some in self._batches(records):
                self._publish_batch(partition, some, failed)
        return failed

    def _batches(self, named: Sequence[_Named]) -> Iterator[Sequence[_Named]]:
        """Split names into the batches of ledger records."""
        for start in range(0, len(named), self._names_in_a_batch):
            yield named[start : start + self._names_in_a_batch]

    def _publish_batch(self, partition: int, records: Sequence[Record], failed: list[_FailedNames]) -> None:
        names = [record.deduplication_id for record in records if record.deduplication_id is not None]
        entry = batch_record(names, utc(self._clock()))
        self._publish_ledger(partition, entry, lambda error: failed.append((records, error)))

    def _publish_entries(self, items: Iterable[Settlement]) -> None:
        """Publish all other names: several of one partition that moved in batches, lest their number slow a restart."""
        moved: defaultdict[int, list[tuple[Settlement, str]]] = defaultdict(list)
        for item in items:
            if item.writes.ledger is not None:
                name, state = item.writes.ledger
                if state == "moved":
                    moved[item.record.assignment.partition].append((item, name))
                else:
                    self._publish_entry(item, name, state)
        for partition, named in moved.items():
            for some in self._batches(named):
                self._publish_moved(partition, some)

    def _publish_moved(self, partition: int, named: Sequence[tuple[Settlement, str]]) -> None:
        if len(named) == 1:
            self._publish_entry(*named[0], "moved")
            return

        def refuse_all(error: KafkaError) -> None:
            for item, _ in named:
                item.refuse(error)

        self._publish_ledger(partition, batch_record([name for _, name in named], utc(self._clock())), refuse_all)

    def _publish_entry(self, item: Settlement, name: str, state: LedgerState) -> None:
        entry = entry_record(name, state, utc(self._clock()))
        self._publish_ledger(item.record.assignment.partition, entry, item.refuse)

    def _publish_ledger(self, partition: int, entry: KeyAndValue, on_failure: Callable[[KafkaError], None]) -> None:
        def note(error: KafkaError | None, message: Message) -> None:
            fault = why_unconfirmed(error, message)
            if fault is not None:
                on_failure(fault)

        key, value = entry
        try:
            self.producer.produce(self._queue.ledger_topic, key=key, value=value, partition=partition, on_delivery=note)
        except (BufferError, KafkaException) as failure:
            on_failure(as_error(failure))

    def _wait_confirmed(self) -> None:
        """Wait until everything published is confirmed or failed; librdkafka bounds that by `message.timeout.ms`."""
        log_pace = LogPace(STILL_WAITING_S, first_at_s=time.monotonic() + STILL_WAITING_S)
        while self.producer.flush(LOOK_S):
            if self.is_out_of_time:
                raise GaveUp(self._queue.name)
            if log_pace.try_acquire(time.monotonic()):
                self._on_silence()


class GaveUp(Exception):
    """A shutdown's time ran out while the brokers did not confirm; what was not settled will be delivered again."""

    def __init__(self, queue: str) -> None:
        super().__init__(
            f"queue {queue!r}: the brokers did not confirm the last outcomes before the shutdown's end; their jobs are "
            "delivered again"
        )


def _note_answer(item: Settlement, written: OutgoingRecord, error: KafkaError | None, message: Message) -> None:
    item.note_answer(written, why_unconfirmed(error, message))
