"""librdkafka's clients with the options that the worker's guarantees rest on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

from ...producers.client import LARGE_RECORDS, LogRelay, Outage, connect, producer_config
from ...topology import ClusterSettings, Queue
from ...topology.cluster.clients import make_client
from ...topology.cluster.forgotten_brokers import LastingConsumer, lasting
from ...topology.cluster.settings import ANY_SIZE_BYTES, Option
from ...topology.planning.group_settings import group_settings
from .group_protocol import CONSUMER_PROTOCOL, BrokerWatch, GroupProtocol
from .outage import WorkerOutage

_LOGGER = logging.getLogger("stoker.worker")

PREFETCH_KBYTES: Final = 16_384
"""Bound on prefetched records in memory, for the whole consumer."""
READER_PREFETCH_KBYTES: Final = 8_192
"""Bound on the prefetched records of each side reader."""
FETCH_BYTES: Final = 2 * 1024 * 1024
READER_FETCH_BYTES: Final = 1024 * 1024
"""The size of one answer of a broker, compressed. The client fetches where little is left, and keeps all that comes,
beyond any other bound: by default a megabyte for each partition, of which records take ten times as much in memory."""

METADATA_REFRESH_MS: Final = 5_000
"""How old at most a client's knowledge of a topic's partitions gets: by the classic protocol, members find new ones."""

DEFAULT_POLL_INTERVAL_MS: Final = 300_000
"""librdkafka's own `max.poll.interval.ms`."""

OnCommit = Callable[[KafkaError | None, list[TopicPartition]], None]


def consumer_config(
    cluster: ClusterSettings, queue: Queue, client_id: str, protocol: GroupProtocol
) -> dict[str, object]:
    """Build the options; those that carry a guarantee win over the cluster's own."""
    return {
        **cluster.client_config(
            client_id=client_id,
            fetch_max_bytes=FETCH_BYTES,
            fetch_queue_backoff_ms=10,
            queued_max_messages_kbytes=PREFETCH_KBYTES,
            queued_min_messages=20_000,
            reconnect_backoff_max_ms=2_000,
            receive_message_max_bytes=ANY_SIZE_BYTES,
            topic_metadata_refresh_interval_ms=METADATA_REFRESH_MS,
        ),
        **protocol.options,
        **({} if protocol is CONSUMER_PROTOCOL else classic_session(queue)),
        "group.id": queue.group,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "earliest",
        "isolation.level": "read_committed",
        "enable.partition.eof": True,
    }


def classic_session(queue: Queue) -> dict[str, Option]:
    """The declared session timeout, which members ask for themselves; the group protocol of Kafka 4 forbids that."""
    return {name.removeprefix("consumer."): int(value) for name, value in group_settings(queue).items()}


def make_consumer(
    cluster: ClusterSettings,
    queue: Queue,
    client_id: str,
    protocol: GroupProtocol,
    *,
    on_commit: OnCommit,
    outage: WorkerOutage,
) -> tuple[Consumer, BrokerWatch]:
    """Make the consumer of a queue's group, and what learns from its log whether the brokers know the protocol."""
    config = {**consumer_config(cluster, queue, client_id, protocol), "on_commit": on_commit}
    watch = BrokerWatch(config, _LOGGER, outage.note_connected)
    return _consumer(BrokerWatch.watched(config), watch, outage.note), watch


def make_reader(cluster: ClusterSettings, queue: Queue, client_id: str, options: Mapping[str, Option]) -> Consumer:
    """Make the consumer of a side reader, which assigns itself its partitions; it commits nothing."""
    config = cluster.reader_config(
        client_id=client_id,
        reconnect_backoff_max_ms=2_000,
        receive_message_max_bytes=ANY_SIZE_BYTES,
        topic_metadata_refresh_interval_ms=METADATA_REFRESH_MS,
    )
    own = {
        "group.id": queue.group,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "earliest",
        "enable.partition.eof": True,
        "fetch.max.bytes": READER_FETCH_BYTES,
        "fetch.queue.backoff.ms": 10,
        "queued.min.messages": 2_000,
        "queued.max.messages.kbytes": READER_PREFETCH_KBYTES,
    }
    whole = {**config, **own, **options}
    return _consumer(whole, LogRelay(whole, _LOGGER), _detail(cluster, client_id).note)


def _consumer(config: dict[str, object], relay: LogRelay, on_error: Callable[[KafkaError], None]) -> Consumer:
    return make_client(partial(lasting, LastingConsumer), {**config, "error_cb": on_error, "logger": relay})


def _detail(cluster: ClusterSettings, client_id: str) -> Outage:
    """The outage of a side reader's client, logged for debugging: `WorkerOutage` logs it once for all clients."""
    meaning = "the worker reports what that means for jobs"
    return Outage(cluster.bootstrap_servers, f"client {client_id}", meaning, logging.DEBUG)


def longest_callback_s(cluster: ClusterSettings) -> float:
    """How long a rebalance callback may take: half of what the group allows a member, before it counts as gone."""
    return float(cluster.options.get("max.poll.interval.ms", DEFAULT_POLL_INTERVAL_MS)) / 1_000 / 2


def spilling_producer(cluster: ClusterSettings, worker_id: str) -> Producer:
    """The client that writes progress which does not fit a commit; what it cannot write soon is written anew later."""
    config = producer_config(cluster, client_id=f"{worker_id}-progress", linger_ms=0, message_timeout_ms=5_000)
    return connect(config, _detail(cluster, str(config["client.id"])))


def lone_producer(cluster: ClusterSettings, worker_id: str) -> Producer:
    """The client that writes records which fit no batch with others: each compressed, in a batch of its own.

    It overrides the cluster's options, since a record that cannot be written stops its partition.
    """
    config = producer_config(cluster, client_id=f"{worker_id}-lone", linger_ms=0, message_timeout_ms=30_000)
    return connect({**config, **_ONE_BY_ONE}, _detail(cluster, str(config["client.id"])))


_ONE_BY_ONE: Final[Mapping[str, Option]] = {
    "batch.num.messages": 1,
    **LARGE_RECORDS,
    "compression.level": 9,
    # Room for one of these, so that few of them are in memory at once.
    "queue.buffering.max.kbytes": 131_072,
}


def settling_producer(cluster: ClusterSettings, worker_id: str) -> Producer:
    """The client that makes outcomes durable; it reports success as well, which is none without an offset."""
    config = producer_config(cluster, client_id=worker_id, linger_ms=0, message_timeout_ms=30_000)
    return connect(config, _detail(cluster, str(config["client.id"])))


def carrying_producer(cluster: ClusterSettings, worker_id: str) -> Producer:
    """The client that writes waiting records again; what it cannot write within half a minute is tried again later."""
    config = producer_config(cluster, client_id=f"{worker_id}-carrying", linger_ms=5, message_timeout_ms=30_000)
    return connect(config, _detail(cluster, str(config["client.id"])))


def limits_producer(cluster: ClusterSettings, client_id: str) -> Producer:
    """A client that asks for shares of limits, or writes reservations; what is not written in two seconds is tried
    again.
    """
    config = producer_config(cluster, client_id=client_id, linger_ms=0, message_timeout_ms=2_000)
    return connect(config, _detail(cluster, client_id))


def events_producer(cluster: ClusterSettings, worker_id: str, *, most_events: int, most_kbytes: int) -> Producer:
    """The client that writes events; what it cannot write within half a minute is given up.

    Args:
        most_events, most_kbytes: bounds on what is not confirmed yet.
    """
    config = producer_config(
        cluster,
        client_id=f"{worker_id}-events",
        linger_ms=20,
        compression_type="lz4",  # a third less to send and to keep, which saves more time here and at the broker
        message_timeout_ms=30_000,
        queue_buffering_max_messages=most_events,
        queue_buffering_max_kbytes=most_kbytes,
    )
    return connect(config, _detail(cluster, str(config["client.id"])))
