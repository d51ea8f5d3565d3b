"""`RealCluster`: the test run's Kafka as a `Cluster`, through clients with the worker's own options."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import cast

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # the package re-exports them without saying so
    AdminClient,
    NewTopic,
)

from stoker.consumers.kafka.clients import consumer_config, lone_producer, make_reader
from stoker.consumers.kafka.group_protocol import CONSUMER_PROTOCOL, GroupProtocol
from stoker.producers.client import producer_config
from stoker.topology import ClusterSettings, Queue
from stoker.topology.cluster.settings import Option
from support.clusters.cluster import NO_OPTIONS, OPENER, Client, Shares, Writer, at, read_all
from support.kafka.brokers import wait_coordinated
from support.kafka.compaction import busy_cleaner
from support.scenes.worker import declare_queue, shorten_session
from support.waiting import wait_until

JOIN_WITHIN_S = 60.0
"""Longer than a session, should a member be taken for dead by that."""
COMPACTED_WITHIN_S = 60.0
MARKED_WITHIN_S = 60.0
"""The brokers write a transaction's marker after they have answered its end."""
COMPACTION = {
    "cleanup.policy": "compact",
    "min.cleanable.dirty.ratio": "0.01",
    "segment.ms": "100",
    "min.compaction.lag.ms": "0",
}
SESSION = timedelta(seconds=6)
"""Short, since a member that has left by itself has its late commit answered only when its session has ended."""
SILENT_FOR_MS = 1_500
"""A member that does not poll for so long leaves the group by itself: the group's partitions go to others."""


class RealCluster:
    """Kafka as it is."""

    def __init__(self, settings: ClusterSettings, namespace: str, protocol: GroupProtocol = CONSUMER_PROTOCOL) -> None:
        self._settings = settings
        self._namespace = namespace
        self._protocol = protocol
        self._queue = declare_queue(namespace, session_timeout=SESSION)[1]
        self._admin = AdminClient(settings.client_config())
        self._producer = Producer(
            {**settings.client_config(), "enable.idempotence": True}
        )  # else a retry changes the order
        self._consumers: list[Consumer] = []
        self._watch = self.reader()
        wait_coordinated(settings, self._queue.group)
        shorten_session(settings, self._queue)

    def close(self) -> None:
        """Close all consumers."""
        for consumer in self._consumers:
            consumer.close()

    def make_topic(self, *, partitions: int = 1, most_bytes: int | None = None, is_compacted: bool = False) -> str:
        """Make a topic."""
        topic = f"{self._namespace}.{uuid.uuid4().hex[:6]}"
        config = {} if most_bytes is None else {"max.message.bytes": str(most_bytes)}
        config |= COMPACTION if is_compacted else {}
        self._admin.create_topics([NewTopic(topic, partitions, 1, config=config)])[topic].result(30)
        return topic

    def write(self, topic: str, *values: bytes | None, key: bytes | None = None) -> None:
        """Write records."""
        for value in values:
            self._producer.produce(topic, value, key, partition=0)
        assert self._producer.flush(20) == 0

    def begin_transaction(self, topic: str, *values: bytes) -> Callable[[bool], None]:
        """Write records in a transaction."""
        producer = Producer(self._settings.client_config(transactional_id=f"{topic}.{uuid.uuid4().hex[:6]}"))
        producer.init_transactions(30)
        producer.begin_transaction()
        for value in values:
            producer.produce(topic, value, partition=0)
        assert producer.flush(20) == 0

        def end(is_committed: bool) -> None:
            before = self._stable_end(topic)
            (producer.commit_transaction if is_committed else producer.abort_transaction)(30)
            wait_until(lambda: self._stable_end(topic) > before, MARKED_WITHIN_S, "the transaction's marker")

        return end

    def _stable_end(self, topic: str) -> int:
        found = self._watch.get_watermark_offsets(at(topic), timeout=20.0)
        assert found is not None
        return found[1]

    def cut(self, topic: str, before: int) -> None:
        """Remove what is old."""
        (done,) = self._admin.delete_records([at(topic, before)]).values()
        done.result(30)

    def compact(self, topic: str) -> None:
        """Have the log cleaner look at once; it leaves alone the segment that is written, so another is opened."""
        self._producer.produce(topic, b"", OPENER, partition=0, timestamp=int(time.time() * 1_000) + 1_000)
        assert self._producer.flush(20) == 0
        with busy_cleaner(self._admin):
            wait_until(lambda: not self._has_repeated_keys(topic), COMPACTED_WITHIN_S, "the log to be compacted")

    def _has_repeated_keys(self, topic: str) -> bool:
        keys = [seen.key for seen in read_all(self, topic) if not seen.is_end]
        return len(keys) > len(set(keys))

    def reader(self, options: Mapping[str, Option] = NO_OPTIONS) -> Client:
        """A consumer beside the group."""
        return self._as_client(make_reader(self._settings, self._queue, "reader", options))

    def join(self, topic: str) -> Client:
        """The group's one member, which is not asked to poll any more."""
        return self._assigned(topic, SILENT_FOR_MS)

    def replace(self, member: Client, topic: str) -> Client:
        """Another member polls until the former has been silent for too long."""
        return self._assigned(topic)

    def _assigned(self, topic: str, silent_for_ms: int | None = None) -> Client:
        member = self._member([topic], silent_for_ms)
        self._wait_assigned([member])
        return cast(Client, member)

    def writer(self, *, is_lone: bool = False) -> Writer:
        """A producer as the worker has them, which lingers so that records surely come together in a batch."""
        if is_lone:
            return cast(Writer, lone_producer(self._settings, "writer"))
        return cast(Writer, Producer(producer_config(self._settings, linger_ms=100)))

    def share(self, queue: Queue, members: Sequence[str]) -> Shares:
        """As the brokers, or the members by the classic protocol, share a queue's topics out."""
        topics = queue.job_topics
        for topic in topics:
            self._admin.create_topics([NewTopic(topic, queue.partitions, 1)])[topic].result(30)
        joined = {name: self._member(topics) for name in members}
        self._wait_assigned(list(joined.values()))
        self._wait_shared(list(joined.values()), len(topics) * queue.partitions)
        return {name: {(a.topic, a.partition) for a in member.assignment()} for name, member in joined.items()}

    def _wait_shared(self, members: Sequence[Consumer], partitions: int) -> None:
        """Wait for the last sharing: the coordinator learns of new topics one by one, and shares out after each."""

        def all_are_shared() -> bool:
            for member in members:
                member.poll(0.1)
            return {len(member.assignment()) for member in members} == {partitions // len(members)}

        wait_until(all_are_shared, JOIN_WITHIN_S, "the members to have all partitions, as many each")

    def _member(self, topics: list[str], silent_for_ms: int | None = None) -> Consumer:
        config = consumer_config(self._settings, self._queue, "member", self._protocol)
        if silent_for_ms is not None:
            config["max.poll.interval.ms"] = silent_for_ms
        member = Consumer(config)
        self._consumers.append(member)
        member.subscribe(topics, on_assign=self._take)
        return member

    def _wait_assigned(self, members: Sequence[Consumer]) -> None:
        def all_have() -> bool:
            for member in members:
                member.poll(0.1)
            return all(member.assignment() for member in members)

        wait_until(all_have, JOIN_WITHIN_S, "the members to have partitions")
        for member in members:
            member.resume(member.assignment())

    def _take(self, member: Consumer, given: list[TopicPartition]) -> None:
        """Take them as the worker does: they rest at first, so that the polls of `_wait_assigned` swallow no record."""
        self._protocol.take(member, given)
        member.pause(given)

    def _as_client(self, consumer: Consumer) -> Client:
        self._consumers.append(consumer)
        return cast(Client, consumer)
