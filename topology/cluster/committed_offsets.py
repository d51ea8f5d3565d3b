"""Reads a consumer group's commits, by a client that has the group's name and does not join it.

The administration's own request for it, `list_consumer_group_offsets`, is used nowhere: where the coordinator of the
group is still loading or has moved, as after a restart of a broker, librdkafka up to 2.16 ends the whole process with a
segmentation fault (confluentinc/librdkafka, issue 5040).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from .clients import make_client
from .kafka_errors import NO_COORDINATOR
from .settings import ClusterSettings

Partition = tuple[str, int]
"""Topic and partition number."""

_MOMENTARY: Final = NO_COORDINATOR | {KafkaError._TIMED_OUT}
_SLICE_S: Final = 0.5
"""How long one question waits: in between it is seen whether the client may ask at all."""
_NOTHING: Final = frozenset({KafkaError.GROUP_ID_NOT_FOUND, KafkaError.UNKNOWN_TOPIC_OR_PART})
_ASK_AGAIN_S: Final = 0.1


def committed_offsets(
    cluster: ClusterSettings,
    group: str,
    partitions: Collection[Partition],
    timeout_s: float,
    on_client_error: Callable[[KafkaError], None] = lambda _error: None,
) -> dict[Partition, int]:
    """As `commits_of`, the offsets alone: {partition: first offset that is not committed}."""
    found = commits_of(cluster, group, partitions, timeout_s, on_client_error)
    return {partition: commit.offset for partition, commit in found.items()}


def commits_of(
    cluster: ClusterSettings,
    group: str,
    partitions: Collection[Partition],
    timeout_s: float,
    on_client_error: Callable[[KafkaError], None] = lambda _error: None,
) -> dict[Partition, TopicPartition]:
    """Ask how far a group has committed; a coordinator that is about to come or go is asked again.

    Args:
        on_client_error: takes the client's messages about its connections.

    Returns:
        {partition: the first offset that is not committed, with its metadata}; a partition without a commit is left
        out.

    Raises:
        KafkaException: no answer within `timeout_s`, or one that waiting does not heal.
    """
    if not partitions:
        return {}
    consumer = make_asker(cluster, group, on_client_error)
    try:
        return ask_committed(consumer, partitions, timeout_s)
    except KafkaException:
        consumer.poll(0)  # hands out the client's errors
        raise
    finally:
        consumer.close()


def make_asker(cluster: ClusterSettings, group: str, on_client_error: Callable[[KafkaError], None]) -> Consumer:
    """Make a client for `ask_committed`; it does not join the group."""
    config: dict[str, object] = {
        **cluster.reader_config(log_level=2),
        "group.id": group,
        "enable.auto.commit": False,
        "isolation.level": "read_uncommitted",  # else offsets that a transaction is about to commit are waited for
        "error_cb": on_client_error,
    }
    return make_client(Consumer, config)


def ask_committed(
    consumer: Consumer, partitions: Collection[Partition], timeout_s: float
) -> dict[Partition, TopicPartition]:
    """As `commits_of`, by a client of `make_asker`, which may ask any number of times."""
    give_up_at_s = time.monotonic() + timeout_s
    while True:
        try:
            asked = [TopicPartition(*partition) for partition in partitions]
            found = consumer.committed(asked, timeout=_SLICE_S)
            return _places(found)
        except KafkaException as failed:
            code = failed.args[0].code()
            if code in _NOTHING:
                return {}
            _raise_if_forbidden(consumer)
            if code not in _MOMENTARY or time.monotonic() >= give_up_at_s:
                raise
        time.sleep(_ASK_AGAIN_S)


def _raise_if_forbidden(consumer: Consumer) -> None:
    """Raise the refusal to even name the group's coordinator, which `committed` waits for until its time is over."""
    message = consumer.poll(0)
    error = None if message is None else message.error()
    if error is not None and error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
        raise KafkaException(error)


def _places(found: Collection[TopicPartition]) -> dict[Partition, TopicPartition]:
    for partition in found:
        if partition.error is not None and partition.error.code() not in _NOTHING:
            raise KafkaException(partition.error)
    return {(partition.topic, partition.partition): partition for partition in found if partition.offset >= 0}
