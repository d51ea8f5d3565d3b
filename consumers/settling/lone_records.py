"""`LoneRecords`: writes the records that fit no batch with others, each in the largest form that its topic takes.

The settler calls it at each of its turns, and it never waits. So a record of a hundred megabytes, or one that takes ten
forms until it fits, delays no other record.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from ...producers.delivery import why_unconfirmed
from ...topology import Queue
from ...topology.cluster.kafka_errors import as_error, is_fatal
from ...topology.wire.headers import JOB_TYPE
from .. import log_keys
from ..breakers.dead_guards import DeadGuards, why_dead
from ..records.job_fields import job_fields, named_job
from ..records.outcomes import Dead
from .fitting import PlanDeadLetter, goes_alone, refitted
from .outgoing import OutgoingRecord, Relation, produce
from .settlement import Settlement, SettlementBatch

_LOGGER = logging.getLogger("stoker.settle")


def count_replaced(guards: DeadGuards, batch: SettlementBatch) -> None:
    """Count the dead letters of jobs that were to wait and fit no topic; all others are counted before the settler."""
    for item in batch.others:
        outcome = item.outcome
        if item.instead_of is not None and isinstance(outcome, Dead) and item.record.assignment.is_active:
            guards.note(item.record.header(JOB_TYPE), why_dead(outcome))


class LoneRecords:
    """The settlements of one queue whose records go alone; owned by the settling thread.

    Of such a settlement all records go alone, and it is handed back once each of them is answered.
    """

    def __init__(self, queue: Queue, make_producer: Callable[[], Producer], plan_dead_letter: PlanDeadLetter) -> None:
        self._queue = queue
        self._make_producer = make_producer
        self._plan_dead_letter = plan_dead_letter
        self._producer: Producer | None = None
        self._is_finished = False
        self._to_write: deque[tuple[Settlement, OutgoingRecord]] = deque()
        self._under_way = 0
        self._unanswered: dict[Settlement, int] = {}
        self._confirmed: list[Settlement] = []
        self._failed: list[Settlement] = []

    def __len__(self) -> int:
        """How many settlements are here: some of their records are unanswered, or the settler has not taken them."""
        return len(self._unanswered) + len(self._confirmed) + len(self._failed)

    def take_out(self, items: Iterable[Settlement]) -> list[Settlement]:
        """Take those that go alone; returns the others."""
        others = []
        for item in items:
            if goes_alone(item):
                self._begin(item)
            else:
                others.append(item)
        return others

    def take_refused(self, item: Settlement) -> bool:
        """Take an item that was refused, where another form of it may be written; False where none can help."""
        before, following = item.unconfirmed, refitted(item, self._plan_dead_letter)
        if following is None:
            return False
        self._log_loss(item, before, following)
        self._begin(following)
        return True

    def _begin(self, item: Settlement) -> None:
        item.refusals.clear()
        records = item.unconfirmed
        if records:
            self._unanswered[item] = len(records)
            self._to_write.extend((item, written) for written in records)
        else:  # a dead letter that is not written, since the partition is another worker's by now
            self._confirmed.append(item)

    def serve(self) -> SettlementBatch:
        """Write, and take the brokers' answers as far as they are here.

        Returns:
            The items whose records are confirmed, which only the ledger lacks; none failed.
        """
        if self._producer is not None:
            self._take_answers(self._producer)
        self._replace_if_finished()
        while self._to_write and self._write(*self._to_write[0]):
            self._to_write.popleft()
        confirmed, self._confirmed = self._confirmed, []
        return SettlementBatch(others=confirmed)

    def _take_answers(self, producer: Producer) -> None:
        try:
            producer.poll(0)
        except KafkaException as failure:  # the client raises a fatal error once; the answers that it owes follow
            if not is_fatal(as_error(failure)):
                raise
            self._is_finished = True

    def take_failed(self) -> SettlementBatch:
        """The items that could not be written since the last call, in no form."""
        failed, self._failed = self._failed, []
        return SettlementBatch(others=failed)

    def _replace_if_finished(self) -> None:
        if self._is_finished and not self._under_way:
            self._producer, self._is_finished = None, False

    def _write(self, item: Settlement, written: OutgoingRecord) -> bool:
        """Hand a record to the client; False where the client is finished, or its buffer is full of others."""
        if self._is_finished:
            return False
        try:
            if self._producer is None:
                self._producer = self._make_producer()
            produce(self._producer, written, partial(self._note_answer, item, written))
        except (BufferError, KafkaException) as refusal:
            if isinstance(refusal, BufferError) and self._under_way:
                return False
            self._end(item, written, as_error(refusal))
        else:
            self._under_way += 1
        return True

    def _note_answer(
        self, item: Settlement, written: OutgoingRecord, error: KafkaError | None, message: Message
    ) -> None:
        self._under_way -= 1
        self._end(item, written, why_unconfirmed(error, message))

    def _end(self, item: Settlement, written: OutgoingRecord, error: KafkaError | None) -> None:
        self._is_finished = self._is_finished or is_fatal(error)
        item.note_answer(written, error)
        self._unanswered[item] -= 1
        if self._unanswered[item]:
            return
        del self._unanswered[item]
        if not item.refusals:
            self._confirmed.append(item)
        elif not self.take_refused(item):
            self._failed.append(item)

    def _log_loss(self, item: Settlement, before: Sequence[OutgoingRecord], following: Settlement) -> None:
        """Log once what a job loses: its retry, or the whole of its dead letter."""
        if following is not item:
            refused = next(written for written in before if written.relation is Relation.WAITING)
            text = "job %s is a dead letter (too-large): its record of %d bytes, compressed, does not fit %s"
            self._warn(item, text, refused)
            return
        cut = [written for written in following.unconfirmed if written.is_cut]
        if cut and not any(written.is_cut for written in before):
            text = "the dead letter of job %s is truncated: its record of %d bytes, compressed, does not fit %s"
            self._warn(item, f"{text}. It names the place of the original", cut[0])

    def _warn(self, item: Settlement, text: str, refused: OutgoingRecord) -> None:
        extra = {**job_fields(item.record, self._queue.name), log_keys.OUTCOME: Dead.__name__.lower()}
        _LOGGER.warning(text, named_job(item.record), item.record.size_bytes, refused.topic, extra=extra)
