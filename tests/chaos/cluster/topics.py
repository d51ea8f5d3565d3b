"""What stands on the topics at the end of a run, read with a plain Kafka client."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from chaos.fleet.producing import NUMBER_HEADER
from chaos.judging.account import DeadLetter
from chaos.judging.schedules import Fired
from stoker.schemas import decode_own, is_own
from stoker.topology import Queue
from stoker.topology.declaration.delays import DelayClass
from stoker.topology.wire import headers as wire

TIMEOUT_S: Final = 60.0


class Reader:
    """Reads whole topics."""

    def __init__(self, servers: str) -> None:
        self._servers = servers

    def _consumer(self, group: str = "chaos-reader") -> Consumer:
        options = {"bootstrap.servers": self._servers, "group.id": group, "enable.auto.commit": False, "log_level": 0}
        return Consumer(options | {"enable.partition.eof": True, "fetch.wait.max.ms": 10})

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
        """How many records of a queue its group has not committed, but for those due in hours; None: not known now."""
        consumer = self._consumer(queue.group)
        try:
            far = {queue.delay_topics[DelayClass.MEDIUM], queue.delay_topics[DelayClass.LONG]}
            return sum(self._lag(consumer, topic, queue) for topic in queue.job_topics if topic not in far)
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

    def cancelled(self, queue: Queue) -> Iterator[int]:
        """The numbers of the jobs that the ledger knows as cancelled."""
        for message in self._read(queue.ledger_topic, queue.partitions):
            key = message.key() or b""
            if key.startswith(b"job-") and _word(message.value()) == "cancelled":
                yield int(key.removeprefix(b"job-"))

    def fired(self, queue: Queue) -> list[Fired]:
        """The jobs of schedules, as they were enqueued."""
        return [_fired(message) for message in self._read(queue.topic, queue.partitions)]

    def arrived(self, queue: Queue) -> dict[int, list[float]]:
        """{number of a job: when the brokers took its records}, by the monotonic clock; no fault moves theirs."""
        behind_s = time.time() - time.monotonic()
        found: dict[int, list[float]] = {}
        for message in self._read(queue.topic, queue.partitions):
            number = number_of(message)
            if number is not None:
                found.setdefault(number, []).append(message.timestamp()[1] / 1_000 - behind_s)
        return found

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
            give_up_at_s = time.monotonic() + TIMEOUT_S
            while unread:
                if time.monotonic() > give_up_at_s:
                    raise TimeoutError(f"{topic}: {unread} was not read in {TIMEOUT_S:g} s")
                message = consumer.poll(0.5)
                if message is None:  # one without a value is falsy
                    continue
                error = message.error()
                if error is None:
                    found.append(message)
                if error is None or error.code() == KafkaError._PARTITION_EOF:
                    _tick_off(unread, message, is_record=error is None)
        finally:
            consumer.close()
        return found


def _tick_off(unread: dict[int, int], message: Message, *, is_record: bool) -> None:
    """Note what is read; where transactions end a log, its last offsets are no records, and its end alone tells."""
    number, offset = message.partition() or 0, message.offset() or 0
    if offset + is_record >= unread.get(number, offset + 2):
        del unread[number]


def _word(value: bytes | None) -> str:
    """What an entry of the ledger says of its name."""
    if value is None or not is_own("LedgerEntry", value):
        return ""
    return str(decode_own("LedgerEntry", value)["outcome"])


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


def _fired(message: Message) -> Fired:
    headers = _headers(message)
    return Fired(
        job_id=headers[wire.JOB_ID].decode(),
        schedule=headers[wire.SCHEDULE].decode(),
        for_s=wire.parse_instant(headers[wire.SCHEDULED_FOR]).timestamp(),
        made_s=wire.parse_instant(headers[wire.TIME]).timestamp(),
    )


def _headers(message: Message) -> dict[str, bytes]:
    pairs = dict(message.headers() or [])
    return {name: value for name, value in pairs.items() if isinstance(value, bytes)}
