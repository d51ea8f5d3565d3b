"""What stands on the topics at the end of a run, read with a plain Kafka client."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from chaos.fleet.producing import NUMBER_HEADER
from chaos.judging.account import DeadLetter
from stoker.topology import Queue

TIMEOUT_S: Final = 60.0


class Reader:
    """Reads whole topics."""

    def __init__(self, servers: str) -> None:
        self._servers = servers

    def _consumer(self, group: str = "chaos-reader") -> Consumer:
        options = {"bootstrap.servers": self._servers, "group.id": group, "enable.auto.commit": False, "log_level": 0}
        return Consumer(options)

    def dead_letters(self, queue: Queue) -> list[DeadLetter]:
        """The dead letters of a queue."""
        return [_dead_letter(message) for message in self._read(queue.dead_topic, queue.partitions)]

    def count(self, topic: str, partitions: int) -> int | None:
        """How many records a topic holds; None when the brokers do not say so now."""
        consumer = self._consumer()
        try:
            return sum(high - low for low, high in self._bounds(consumer, topic, partitions).values())
        except KafkaException:
            return None
        finally:
            consumer.close()

    def uncommitted(self, queue: Queue) -> int | None:
        """How many records of its main topic and tiers the queue's group has not committed; None: not known now."""
        consumer = self._consumer(queue.group)
        try:
            return sum(self._lag(consumer, topic, queue) for topic in queue.job_topics)
        except KafkaException:
            return None
        finally:
            consumer.close()

    def _lag(self, consumer: Consumer, topic: str, queue: Queue) -> int:
        places = [TopicPartition(topic, number) for number in range(queue.partitions)]
        committed = {place.partition: place.offset for place in consumer.committed(places, timeout=10)}
        bounds = self._bounds(consumer, topic, queue.partitions)
        return sum(high - max(committed[number], low) for number, (low, high) in bounds.items())

    def waiting(self, queue: Queue) -> Iterator[int]:
        """The numbers of the jobs in its tiers that the group has not committed."""
        consumer = self._consumer(queue.group)
        try:
            for topic in queue.waiting_topics:
                places = [TopicPartition(topic, number) for number in range(queue.partitions)]
                committed = {place.partition: max(place.offset, 0) for place in consumer.committed(places, timeout=10)}
                for message in self._read(topic, queue.partitions, committed):
                    number = number_of(message)
                    if number is not None:
                        yield number
        finally:
            consumer.close()

    def _bounds(self, consumer: Consumer, topic: str, partitions: int) -> dict[int, tuple[int, int]]:
        return {
            number: consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=10)
            for number in range(partitions)
        }

    def _read(self, topic: str, partitions: int, since: dict[int, int] | None = None) -> list[Message]:
        consumer, found = self._consumer(), list[Message]()
        try:
            bounds = self._bounds(consumer, topic, partitions)
            begins = {number: max(low, (since or {}).get(number, 0)) for number, (low, _) in bounds.items()}
            unread = {number: high for number, (_, high) in bounds.items() if high > begins[number]}
            consumer.assign([TopicPartition(topic, number, begins[number]) for number in unread])
            give_up_s = time.monotonic() + TIMEOUT_S
            while unread:
                if time.monotonic() > give_up_s:
                    raise TimeoutError(f"{topic}: {unread} was not read in {TIMEOUT_S:g} s")
                for message in consumer.consume(1_000, 0.5):
                    if message.error() is None:
                        found.append(message)
                        _tick_off(unread, message)
        finally:
            consumer.close()
        return found


def _tick_off(unread: dict[int, int], message: Message) -> None:
    number, offset = message.partition() or 0, message.offset() or 0
    if offset + 1 >= unread.get(number, offset + 2):
        del unread[number]


def number_of(message: Message) -> int | None:
    """The job's number, by its id or by the header that poison carries."""
    headers = _headers(message)
    if NUMBER_HEADER in headers:
        return int(headers[NUMBER_HEADER])
    job_id = headers.get("ce_id") or b""
    return int(job_id.removeprefix(b"job-")) if job_id.startswith(b"job-") else None


def _dead_letter(message: Message) -> DeadLetter:
    headers = _headers(message)
    place = f"{message.topic()}/{message.partition()}/{message.offset()}"
    attempt = headers.get("stoker-attempt", b"1")
    return DeadLetter(
        number=number_of(message),
        reason=headers.get("stoker-reason", b"").decode(),
        origin=headers.get("stoker-origin", b"").decode(),
        attempt=int(attempt) if attempt.isdigit() else 0,
        place=place,
    )


def _headers(message: Message) -> dict[str, bytes]:
    pairs = dict(message.headers() or [])
    return {name: value for name, value in pairs.items() if isinstance(value, bytes)}
