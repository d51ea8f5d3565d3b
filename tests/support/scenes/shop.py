"""A small shop to enqueue for, its topics on a real cluster, and a plain client that reads what was published."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from stoker.topology import ClusterSettings, JobType, Pipeline, Queue
from stoker.topology.cluster.admin import Administration
from stoker.topology.declaration.topics import declared_topics
from support.waiting import wait_until

READ_DEADLINE_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Shop:
    """A declared pipeline with three job types in one queue of 4 partitions."""

    pipeline: Pipeline
    mails: Queue
    send_receipt: JobType[[int, str], None]
    charge: JobType[[str, int], None]
    collide: JobType[..., None]


def declare_shop(namespace: str) -> Shop:
    """Declare the shop; `charge` is keyed by its account, and limited to 1,000 bytes."""
    pipeline = Pipeline(namespace)
    mails = pipeline.queue("mails", partitions=4)

    @pipeline.job(mails)
    def send_receipt(order_id: int, address: str) -> None:
        """Mail a receipt."""

    @pipeline.job(mails, key=lambda account, cents: account, max_payload_bytes=1_000)
    def charge(account: str, cents: int) -> None:
        """Charge an account."""

    @pipeline.job(mails, key="job")
    def collide(self: int, job: int, timeout: int, calls: int, key: int) -> None:
        """Have the names of the producers' own parameters."""

    return Shop(pipeline=pipeline, mails=mails, send_receipt=send_receipt, charge=charge, collide=collide)


def create_topics(shop: Shop, cluster: ClusterSettings) -> None:
    """Create all that the shop declares, and wait until the brokers know of it."""
    specs = declared_topics(shop.pipeline)
    administration = Administration(cluster)
    assert not administration.create(specs)
    names = {spec.name for spec in specs}
    wait_until(lambda: names <= set(administration.topics(names)), READ_DEADLINE_S, "the topics to be there")


@contextmanager
def plain_consumer(cluster: ClusterSettings) -> Iterator[Consumer]:
    """A Kafka client that knows nothing of Stoker."""
    consumer = Consumer(cluster.client_config(group_id="plain-reader", enable_auto_commit=False))
    try:
        yield consumer
    finally:
        consumer.close()


def end_offsets(cluster: ClusterSettings, queue: Queue) -> list[int]:
    """Where each partition of the queue's main topic ends."""
    with plain_consumer(cluster) as consumer:
        parts = [TopicPartition(queue.topic, number) for number in range(queue.partitions)]
        return [_end(consumer, part) for part in parts]


def _end(consumer: Consumer, part: TopicPartition) -> int:
    found = wait_until(partial(_range, consumer, part), READ_DEADLINE_S, f"the end of {part}")
    assert found is not None
    return found[1]


def _range(consumer: Consumer, part: TopicPartition) -> tuple[int, int] | None:
    try:
        return consumer.get_watermark_offsets(part, timeout=READ_DEADLINE_S)
    except KafkaException:  # a broker that has just started does not lead its partitions yet
        return None


def read_all(cluster: ClusterSettings, queue: Queue) -> list[Message]:
    """Every record of the queue's main topic, each partition's in order."""
    ends = end_offsets(cluster, queue)
    found: list[Message] = []
    give_up = time.monotonic() + READ_DEADLINE_S
    with plain_consumer(cluster) as consumer:
        consumer.assign([TopicPartition(queue.topic, number, 0) for number in range(queue.partitions)])
        while len(found) < sum(ends):
            assert time.monotonic() < give_up, f"read {len(found)} of {sum(ends)} records"
            message = consumer.poll(0.5)  # it waits for one, where `consume` would always wait for many
            found += [message] if message is not None and message.error() is None else []
    return found


def headers_of(message: Message) -> dict[str, bytes]:
    """A record's headers by name."""
    return {name: value for name, value in message.headers() or [] if isinstance(value, bytes)}  # type: ignore[str-unpack]  # its stub allows a dict, the client gives pairs
