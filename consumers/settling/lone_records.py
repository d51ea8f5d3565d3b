"""`LoneRecords`: writes the records that fit no batch with others, each in the largest form that its topic takes.

It never waits: the settler looks in at each turn, so that a record of a hundred megabytes, or one that takes ten forms
until it fits, holds nobody up.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from ...producers.delivery import why_unconfirmed
from ...schemas import wire_text
from ...topology import Queue
from ...topology.cluster.kafka_errors import as_error, is_fatal
from ...topology.wire import headers as wire
from .. import log_keys
from ..records.outcomes import Dead
from .fitting import Bury, goes_alone, next_form
from .settlement import Settlement, SettlementBatch

_LOGGER = logging.getLogger("stoker.settle")


class LoneRecords:
    """The records of one queue that go alone; owned by the settling thread."""

    def __init__(self, queue: Queue, make_producer: Callable[[], Producer], bury: Bury) -> None:
        self._queue = queue
        self._make_producer = make_producer
        self._bury = bury
        self._producer: Producer | None = None
        self._is_finished = False
        self._to_write: deque[Settlement] = deque()
        self._under_way = 0
        self._confirmed: list[Settlement] = []
        self._failed: list[Settlement] = []

    def __len__(self) -> int:
        """How many of them are neither confirmed nor failed, or have not been asked for since."""
        return len(self._to_write) + self._under_way + len(self._confirmed) + len(self._failed)

    def take_out(self, items: Iterable[Settlement]) -> list[Settlement]:
        """Take those that go alone; gives the others."""
        others = []
        for item in items:
            if goes_alone(item):
                self._write_as(item)
            else:
                others.append(item)
        return others

    def take_refused(self, item: Settlement) -> bool:
        """Take an item that was refused, where another form of it may be written; False where none can help."""
        following = next_form(item, self._bury)
        if following is not None:
            self._tell_of(item, following)
            self._write_as(following)
        return following is not None

    def _write_as(self, item: Settlement) -> None:
        form = item.writes.record
        if form is None:  # a dead letter that nobody asks for any more, since the partition has left
            self._confirmed.append(item)
        else:
            self._to_write.append(replace(item, writes=replace(item.writes, record=replace(form, is_alone=True))))

    def serve(self) -> SettlementBatch:
        """Write, and take the brokers' answers as far as they are here.

        Returns:
            The items whose records are confirmed, which only the ledger lacks; none failed.
        """
        if self._producer is not None:
            self._producer.poll(0)
        self._replace_if_finished()
        while self._to_write and self._write(self._to_write[0]):
            self._to_write.popleft()
        confirmed, self._confirmed = self._confirmed, []
        return SettlementBatch(others=confirmed)

    def take_failed(self) -> SettlementBatch:
        """The items that could not be written since the last call, in no form."""
        failed, self._failed = self._failed, []
        return SettlementBatch(others=failed)

    def _replace_if_finished(self) -> None:
        if self._is_finished and not self._under_way:
            self._producer, self._is_finished = None, False

    def _write(self, item: Settlement) -> bool:
        """Hand a record to the client; False where its buffer is full of others."""
        form = item.writes.record
        if form is None or self._is_finished:
            return False
        whole = item.record
        try:
            if self._producer is None:
                self._producer = self._make_producer()
            self._producer.produce(
                form.topic,
                value=whole.value if form.body is None else form.body.value,
                key=whole.key if form.body is None else form.body.key,
                headers=form.headers,  # type: ignore[arg-type]  # the stub wants str | bytes values in an invariant list
                partition=whole.assignment.partition,
                on_delivery=partial(self._note_answer, item),
            )
        except (BufferError, KafkaException) as refusal:
            if isinstance(refusal, BufferError) and self._under_way:
                return False
            self._end(item, as_error(refusal))
        else:
            self._under_way += 1
        return True

    def _note_answer(self, item: Settlement, error: KafkaError | None, message: Message) -> None:
        self._under_way -= 1
        self._end(item, why_unconfirmed(error, message))

    def _end(self, item: Settlement, error: KafkaError | None) -> None:
        item.error = error
        if error is None:
            item.writes.record = None
            self._confirmed.append(item)
        elif not self.take_refused(item):
            self._is_finished = self._is_finished or is_fatal(error)
            self._failed.append(item)

    def _tell_of(self, item: Settlement, following: Settlement) -> None:
        """Say once what a job loses: its retry, or the whole of its dead letter."""
        before, after = item.writes.record, following.writes.record
        if following.instead_of is not item.instead_of:
            self._warn(item, "job %s is a dead letter (too-large): its record of %d bytes, compressed, does not fit %s")
        elif after is not None and after.body is not None and (before is None or before.body is None):
            text = "the dead letter of job %s is truncated: its record of %d bytes, compressed, does not fit %s"
            self._warn(item, f"{text}. It names the place of the original")

    def _warn(self, item: Settlement, text: str) -> None:
        record, form = item.record, item.writes.record
        job_id = wire_text(record.headers.get(wire.JOB_ID))
        extra: dict[str, object] = {
            log_keys.JOB_ID: job_id,
            log_keys.QUEUE: self._queue.name,
            log_keys.RECORD: str(record),
            log_keys.OUTCOME: Dead.__name__.lower(),
        }
        _LOGGER.warning(text, job_id, record.size_bytes, "" if form is None else form.topic, extra=extra)
