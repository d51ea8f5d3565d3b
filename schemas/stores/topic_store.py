"""The schema store that needs nothing but Kafka: the compacted topic `<namespace>.schemas`.

The wire contract of its records:

    key    `<job type>:<fingerprint>`, the fingerprint as 16 hex digits in the order of its bytes on the wire,
           so that compaction keeps every version of every job type
    value  JSON: {"job_type": ..., "fingerprint": <16 hex digits>, "schema": <Avro schema>, "registered_at": <ISO 8601>}

The versions of a job type are in the order of their offsets. Two processes that register one schema at once write
the same key twice, and readers keep the first. No connection stays open between calls.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Final, TypedDict

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)

from ..codec.codec import Codec
from ..codec.schema import NOT_A_SCHEMA, Schema
from ..contracts.compatibility import Compatibility
from ..contracts.contract import Contract
from ..errors import SchemaStoreForbidden, SchemaStoreUnreachable, SchemaTopicMissing, StoreError
from ..wire_text import LONGEST_DETAIL, wire_text
from .single_object_store import SingleObjectStore
from .store import Recorded, StoredSchema, unrecorded
from .versions import registered, require_compatible, stored_now

ClientConfig = Mapping[str, str | int | float | bool]

_LOGGER = logging.getLogger(__name__)

_REGISTER_TIMEOUT_S: Final = 15.0
_POLL_S: Final = 0.5
_FORBIDDEN: Final = frozenset({KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED})
"""Brokers answer the latter to a client that may write to no topic at all."""
_MISSING: Final = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC})

# Failures are raised with the client's message; its own lines on stderr would repeat them.
_QUIET: Final[dict[str, str | int | float | bool]] = {"log_level": 0}

_READING: Final[dict[str, str | int | float | bool]] = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "enable.partition.eof": True,
    "auto.offset.reset": "earliest",
    "allow.auto.create.topics": False,
    # The client reports the end of a partition only after an empty fetch: do not let the broker hold it back.
    "fetch.wait.max.ms": 10,
}
# Without a producer id, which costs half a second: of a schema that is there twice, readers keep the first.
_WRITING: Final[dict[str, str | int | float | bool]] = {"acks": "all", "enable.idempotence": False, "linger.ms": 0}


class _SchemaRecord(TypedDict):
    """A record's value."""

    job_type: str
    fingerprint: str
    schema: Schema
    registered_at: str | None


class TopicSchemaStore(SingleObjectStore):
    """Keeps schemas in a compacted topic, and what it read of it in memory. Safe to call from several threads."""

    knows_registry_ids: Final = False

    def __init__(
        self,
        client_config: ClientConfig,
        topic: str,
        *,
        principal: str = "this client",
        clock: Callable[[], float] = time.monotonic,
        recorded: Recorded = unrecorded,
    ) -> None:
        """Use a topic; nothing is connected before the first call.

        Args:
            client_config: librdkafka settings of the cluster (servers, security), for consumer and producer alike.
            topic: the schemas topic; it is created by `stoker topology apply`, never from here.
            principal: whom the brokers take the client for, for messages.
            clock: seconds that only grow.
            recorded: puts what this store registers on record.
        """
        super().__init__()
        self._config, self._topic, self._clock = dict(client_config), topic, clock
        self._principal, self._recorded = principal, recorded
        self._next: dict[int, int] = {}
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"TopicSchemaStore({self._topic!r})"

    def register(self, contract: Contract, compatibility: Compatibility) -> None:
        """See SchemaStore."""
        deadline_at_s = self._clock() + _REGISTER_TIMEOUT_S
        with self._lock:
            if self._holds(contract):
                return
            self._read(deadline_at_s)
            if self._holds(contract):
                return
            versions = self.versions(contract.job_type)
            require_compatible(contract, versions, compatibility)
            with self._recorded(contract, versions):
                self._write(stored_now(contract), deadline_at_s)
            # Read it back, rather than note it here: the order of versions is the topic's.
            self._read(deadline_at_s)

    def refresh(self, timeout_s: float) -> None:
        """See SchemaStore."""
        with self._lock:
            self._read(self._clock() + timeout_s)

    def _holds(self, contract: Contract) -> bool:
        return registered(contract, self.versions(contract.job_type)) is not None

    def _read(self, deadline_at_s: float) -> None:
        troubles: list[str] = []
        consumer = Consumer(
            {**_QUIET, **self._config, **self._reading(), "error_cb": lambda error: troubles.append(error.str())}
        )
        try:
            self._read_to_end(consumer, deadline_at_s)
        except (KafkaException, TimeoutError) as error:
            consumer.poll(0)  # lets the client report its errors
            raise self._failure(error, troubles, "Read") from error
        finally:
            consumer.close()

    def _reading(self) -> dict[str, str | int | float | bool]:
        """The store assigns its partitions itself and commits nothing; librdkafka wants a group id all the same."""
        return {**_READING, "group.id": f"{self._topic}.reader"}

    def _read_to_end(self, consumer: Consumer, deadline_at_s: float) -> None:
        partitions = self._partitions(consumer, deadline_at_s)
        consumer.assign([self._from_where(partition) for partition in partitions])
        waiting = set(partitions)
        while waiting:
            message = consumer.poll(min(_POLL_S, self._left(deadline_at_s)))
            if message is not None:
                self._take(message, waiting)

    def _from_where(self, partition: int) -> TopicPartition:
        return TopicPartition(self._topic, partition, self._next.get(partition, OFFSET_BEGINNING))

    def _partitions(self, consumer: Consumer, deadline_at_s: float) -> list[int]:
        known = consumer.list_topics(self._topic, timeout=self._left(deadline_at_s)).topics[self._topic]
        if known.error is not None:
            raise KafkaException(known.error)
        return list(known.partitions)

    def _left(self, deadline_at_s: float) -> float:
        left = deadline_at_s - self._clock()
        if left <= 0:
            raise TimeoutError("it did not answer in time")
        return left

    def _take(self, message: Message, waiting: set[int]) -> None:
        error = message.error()
        if error is None:
            self._note(message)
        elif error.code() == KafkaError._PARTITION_EOF:
            partition = int(message.partition() or 0)
            # The end's own offset, since compaction may have taken the last records before it.
            self._next[partition] = int(message.offset() or 0)
            waiting.discard(partition)
        elif error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
            pass  # of the group that librdkafka looks for unasked: nothing here needs it, nor rights on it
        elif error.fatal() or not error.retriable():
            raise KafkaException(error)

    def _note(self, message: Message) -> None:
        value = message.value()
        if value is None:
            return
        try:
            self._book.add(_stored(value))
        except (ValueError, *NOT_A_SCHEMA) as error:
            _LOGGER.warning(
                "skipped a record of the schemas topic that is not a schema",
                extra={
                    "record": f"{self._topic}/{message.partition()}/{message.offset()}",
                    "reason": wire_text(str(error), LONGEST_DETAIL),
                },
            )  # fmt: skip

    def _write(self, stored: StoredSchema, deadline_at_s: float) -> None:
        troubles: list[str] = []
        try:
            self._produce(stored, deadline_at_s, troubles)
        except (KafkaException, TimeoutError) as error:
            raise self._failure(error, troubles, "Write") from error

    def _produce(self, stored: StoredSchema, deadline_at_s: float, troubles: list[str]) -> None:
        outcome: list[KafkaError | None] = []
        left_s = self._left(deadline_at_s)
        own = {**_WRITING, "message.timeout.ms": max(1, int(left_s * 1000))}
        producer = Producer({**_QUIET, **self._config, **own, "error_cb": lambda error: troubles.append(error.str())})
        producer.produce(
            self._topic, key=_key(stored), value=_value(stored), on_delivery=lambda error, _: outcome.append(error)
        )
        producer.flush(left_s)
        if not outcome:
            raise TimeoutError("the brokers did not confirm the schema in time")
        if outcome[0] is not None:
            raise KafkaException(outcome[0])

    def _failure(self, error: KafkaException | TimeoutError, troubles: Sequence[str], operation: str) -> StoreError:
        code = error.args[0].code() if isinstance(error, KafkaException) else None
        if code in _MISSING:
            return SchemaTopicMissing(self._topic)
        if code in _FORBIDDEN:
            return SchemaStoreForbidden(self._topic, operation, self._principal)
        reason = str(error) if isinstance(error, TimeoutError) else str(error.args[0].str())
        return SchemaStoreUnreachable(f"topic {self._topic}", "; ".join([reason, *troubles[-1:]]))


def _hex(frame_id: bytes | int) -> str:
    return frame_id.hex() if isinstance(frame_id, bytes) else str(frame_id)


def _key(stored: StoredSchema) -> bytes:
    return f"{stored.job_type}:{_hex(stored.frame_id)}".encode()


def _value(stored: StoredSchema) -> bytes:
    record: _SchemaRecord = {
        "job_type": stored.job_type,
        "fingerprint": _hex(stored.frame_id),
        "schema": stored.schema,
        "registered_at": stored.registered_at.isoformat() if stored.registered_at else None,
    }
    return json.dumps(record).encode()


def _stored(value: bytes) -> StoredSchema:
    record: _SchemaRecord = json.loads(value)
    fingerprint = bytes.fromhex(record["fingerprint"])
    # A record that lies about its fingerprint would have payloads read by the wrong schema.
    if Codec(record["schema"]).fingerprint != fingerprint:
        raise ValueError(f"the schema does not have the fingerprint {record['fingerprint']}")
    return StoredSchema(
        job_type=str(record["job_type"]),
        frame_id=fingerprint,
        schema=record["schema"],
        registered_at=datetime.fromisoformat(str(record["registered_at"])),
    )
