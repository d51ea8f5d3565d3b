"""What a transaction has written is seen once `StableEnds` says so: brokers answer its commit before that."""

from __future__ import annotations

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from stoker.topology import ClusterSettings
from stoker.topology.cluster.admin import Administration
from stoker.topology.cluster.stable_ends import StableEnds
from stoker.topology.declaration.topics import Role, TopicSpec

TIMES = 20


@pytest.fixture
def topic(cluster: ClusterSettings, namespace: str) -> str:
    """A topic of one partition."""
    name = f"{namespace}.log"
    spec = TopicSpec(name=name, role=Role.MAIN, owner="", partitions=1, replication=None, configs={})
    assert Administration(cluster).create([spec]) == {}
    return name


@pytest.fixture
def producer(cluster: ClusterSettings, topic: str) -> Producer:
    """A producer with a transactional id."""
    made = Producer(cluster.client_config(transactional_id=topic))
    made.init_transactions(30)
    return made


def write(producer: Producer, topic: str) -> TopicPartition:
    """Write a record in a transaction that stays open; its place."""
    offsets: list[int | None] = []
    producer.begin_transaction()
    producer.produce(topic, b"x", partition=0, on_delivery=lambda _error, message: offsets.append(message.offset()))
    assert producer.flush(30) == 0
    return TopicPartition(topic, 0, offsets[0] or 0)


def test_what_was_committed_is_seen_after_the_wait(cluster: ClusterSettings, producer: Producer, topic: str) -> None:
    """At once, by a client that reads only what is committed."""
    ends = StableEnds(cluster, client_id="tests")
    reader = Consumer(cluster.client_config(group_id="reader") | {"isolation.level": "read_committed"})
    for _ in range(TIMES):
        place = write(producer, topic)
        producer.commit_transaction(30)
        assert ends.wait_past([TopicPartition(topic, 0, 0), place], 60)
        found = reader.get_watermark_offsets(TopicPartition(topic, 0), timeout=30)
        assert found is not None
        assert found[1] > place.offset
    reader.close()


def test_a_transaction_that_stays_open_is_not_waited_for_longer_than_that(
    cluster: ClusterSettings, producer: Producer, topic: str
) -> None:
    """Another writer's holds up all that comes behind it, and the caller's own is committed in any case."""
    place = write(producer, topic)
    assert not StableEnds(cluster, client_id="tests").wait_past([place], 0.2)
    producer.abort_transaction(30)


def test_brokers_that_are_gone_end_the_wait() -> None:
    """Without an error: they have answered the commit."""
    nowhere = ClusterSettings(bootstrap_servers="127.0.0.1:1", options={"log_level": 0})
    assert not StableEnds(nowhere, client_id="tests").wait_past([TopicPartition("t", 0, 0)], 0.2)
