"""`OutgoingRecord`: a record that an outcome puts on a topic beside the ledger's entry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from confluent_kafka import KafkaError, Message, Producer

from ...topology.wire.headers import HeaderList


class Relation(Enum):
    """The relation of a record to its job: it decides which form may replace one that its topic refuses.

    WAITING: the job itself, in a retry tier or a delay topic. It may become a dead letter.
    DEAD_LETTER: the job itself, among the dead letters. It may be truncated.
    FOLLOWING: another record. It is written whole, or not at all.
    """

    WAITING = "waiting"
    DEAD_LETTER = "dead letter"
    FOLLOWING = "following"


class Form(Enum):
    """How a record is written (`fitting.py`); each form but the first goes alone, compressed.

    PLAIN: in a batch with others, as nearly all are.
    ALONE: whole, in a batch of its own.
    TRUNCATED: with a part of its value.
    BARE: the same, with key and headers cut as well.
    """

    PLAIN = "plain"
    ALONE = "alone"
    TRUNCATED = "truncated"
    BARE = "bare"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OutgoingRecord:
    """One record; two are never equal, since each is confirmed by itself.

    Attributes:
        partition: -1 lets the client choose it by the key.
    """

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: HeaderList
    relation: Relation = Relation.FOLLOWING
    form: Form = Form.PLAIN

    @property
    def is_cut(self) -> bool:
        """Whether it holds less than the record that it is written for."""
        return self.form in (Form.TRUNCATED, Form.BARE)


OnDelivery = Callable[[KafkaError | None, Message], None]


def produce(client: Producer, record: OutgoingRecord, on_delivery: OnDelivery) -> None:
    """Hand a record to a client.

    Raises:
        BufferError: the client has no room for it.
        KafkaException: the client does not take it.
    """
    client.produce(
        record.topic,
        value=record.value,
        key=record.key,
        headers=record.headers,  # type: ignore[arg-type]  # the stub wants str | bytes values in an invariant list
        partition=record.partition,
        on_delivery=on_delivery,
    )
