"""librdkafka's consumer with the options that the worker's promises rest on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, TopicPartition

from ..producers.client import LogRelay, Outage
from ..topology import ClusterSettings, Queue

PREFETCH_KBYTES: Final = 16_384
"""Bound on prefetched records in memory, for the whole consumer."""

OnCommit = Callable[[KafkaError | None, list[TopicPartition]], None]


def consumer_config(cluster: ClusterSettings, queue: Queue, client_id: str) -> dict[str, Any]:
    """Build the options; those that carry a promise win over the cluster's own."""
    return {
        **cluster.client_config(
            client_id=client_id,
            fetch_queue_backoff_ms=10,
            queued_max_messages_kbytes=PREFETCH_KBYTES,
            queued_min_messages=20_000,
            reconnect_backoff_max_ms=2_000,
        ),
        "group.id": queue.group,
        "group.protocol": "consumer",
        "group.remote.assignor": "range",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "earliest",
        "isolation.level": "read_committed",
        "enable.partition.eof": True,
    }


def make_consumer(cluster: ClusterSettings, queue: Queue, client_id: str, *, on_commit: OnCommit) -> Consumer:
    """Make the consumer of a queue's group."""
    config = consumer_config(cluster, queue, client_id)
    outage = Outage(cluster.bootstrap_servers)
    return Consumer({**config, "on_commit": on_commit, "error_cb": outage.note, "logger": LogRelay(config)})
