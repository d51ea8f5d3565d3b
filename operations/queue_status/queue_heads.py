"""Read the one record at which each partition stands: the oldest job that still waits there."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from ...topology import ClusterSettings
from ...topology.cluster.clients import make_client
from ...topology.cluster.settings import ANY_SIZE_BYTES, Option
from ...topology.wire import names
from ..cluster_view import Partition
from ..stored_jobs.stored_job import StoredJob, record_of

_POLL_S = 0.1
_BATCH = 200
_FETCH_BYTES = 32 * 1024  # a partition's first record always comes, however large it is


def read_heads(
    cluster: ClusterSettings, positions: Mapping[Partition, int], *, timeout_s: float = 5.0
) -> dict[Partition, StoredJob | None]:
    """Read the first record at or after each position, outside of any group.

    Args:
        positions: {partition: offset}; both must exist.
        timeout_s: what has not come by then is left out.

    Returns:
        {partition: its record}; None where only transaction markers follow, that is, nothing waits.
    """
    if not positions:
        return {}
    consumer = make_client(Consumer, _config(cluster, min(positions)[0]))
    try:
        consumer.assign([TopicPartition(topic, number, offset) for (topic, number), offset in positions.items()])
        return _collect(consumer, set(positions), timeout_s)
    finally:
        consumer.close()


def _collect(consumer: Consumer, wanted: set[Partition], timeout_s: float) -> dict[Partition, StoredJob | None]:
    heads: dict[Partition, StoredJob | None] = {}
    give_up_at_s = time.monotonic() + timeout_s
    while wanted and time.monotonic() < give_up_at_s:
        answered = _note(heads, consumer.consume(_BATCH, _POLL_S))
        wanted.difference_update(answered)
        if answered:
            consumer.incremental_unassign([TopicPartition(*partition) for partition in answered])
    return heads


def _note(heads: dict[Partition, StoredJob | None], messages: Iterable[Message]) -> list[Partition]:
    """Add what the messages contain; returns the partitions that are answered by it."""
    answered = []
    for message in messages:
        partition, error = _partition(message), message.error()
        if partition is None or partition in heads:
            continue
        if error is None or error.code() == KafkaError._PARTITION_EOF:
            heads[partition] = None if error else record_of(message)
            answered.append(partition)
        elif error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
            answered.append(partition)  # it may not be read, so it is left out
    return answered


def _partition(message: Message) -> Partition | None:
    topic, number = message.topic(), message.partition()
    return None if topic is None or number is None else (topic, number)


def _config(cluster: ClusterSettings, topic: str) -> dict[str, Option]:
    own: dict[str, Option] = {
        "group.id": names.reader_group(topic),  # the client insists on a name; it is never joined or committed to
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "isolation.level": "read_committed",
        "auto.offset.reset": "earliest",
        "queued.min.messages": 1,
        "max.partition.fetch.bytes": _FETCH_BYTES,
    }
    return {**cluster.client_config(log_level=2, fetch_wait_max_ms=50, receive_message_max_bytes=ANY_SIZE_BYTES), **own}
