"""`LogReader`: reads a topic of one partition from its log, beside any group, up to its end and then what comes."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Final

from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, Message, TopicPartition

from ...topology.cluster.clients import make_client
from ...topology.cluster.forgotten_brokers import LastingConsumer, lasting
from ...topology.cluster.handshake import unreachable
from ...topology.cluster.kafka_errors import FORBIDDEN, is_fatal
from ...topology.cluster.leaders import answered, ask_leaders
from ...topology.cluster.settings import ANY_SIZE_BYTES, ClusterSettings, NotAuthorized, Option
from ...topology.wire.names import reader_group
from ..client import LogRelay
from .errors import ControlNotReady

_LOGGER = logging.getLogger("stoker.producers")

PARTITION: Final = 0
BATCH: Final = 1_000
QUICK_END_MS: Final = 10
"""For `fetch.wait.max.ms` of a reader that reads once: the client knows the end only by an empty fetch."""
END_MS: Final = 250
"""For `fetch.wait.max.ms` of a reader that goes on: a worker that starts waits so long for the end of such a topic."""
_GROUPLESS: Final = frozenset({KafkaError.GROUP_AUTHORIZATION_FAILED})
"""Errors about the group that librdkafka looks for unasked."""

READ_WITHIN_S: Final = 10.0
_STEP_S: Final = 0.1
_MISSING: Final = frozenset(
    {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION}
)

OnError = Callable[[KafkaError], None]


def _pass_over(_error: KafkaError) -> None:
    """Ignore the client's errors: the caller sees their effect in what it waits for."""


class LogReader:
    """Reads partition 0 of a topic; only records of committed transactions. Not thread-safe.

    Another client goes on where one was that has failed for good.

    Attributes:
        position: the offset of the next record to read, as far as it is known.
        is_at_end: whether the last `read` has come to the end.
        trouble: why nothing can be read; None while that is not known.
    """

    def __init__(
        self,
        cluster: ClusterSettings,
        topic: str,
        *,
        client_id: str,
        options: Mapping[str, Option] | None = None,
        on_error: OnError = _pass_over,
    ) -> None:
        self.topic = topic
        self.position = 0
        self.is_at_end = False
        self.trouble: KafkaError | None = None
        config: dict[str, object] = {
            **cluster.reader_config(
                client_id=client_id,
                reconnect_backoff_max_ms=2_000,
                receive_message_max_bytes=ANY_SIZE_BYTES,
                topic_metadata_refresh_interval_ms=5_000,
                fetch_error_backoff_ms=100,
            ),
            **_READING,
            "group.id": reader_group(topic),
            **(options or {}),
        }
        self._config = {**config, "error_cb": on_error, "logger": LogRelay(config, _LOGGER)}
        self._consumer = self._connect()
        self._began_at = OFFSET_BEGINNING
        self._is_finished = False

    def _connect(self) -> LastingConsumer:
        return make_client(partial(lasting, LastingConsumer), self._config)

    def start(self, offset: int = OFFSET_BEGINNING) -> None:
        """Read from this offset on; where it is gone, from the beginning."""
        self.is_at_end = False
        self.position, self._began_at = max(0, offset), offset
        self._consumer.assign([TopicPartition(self.topic, PARTITION, offset)])

    def start_at_time(self, at_s: float, timeout_s: float) -> None:
        """Read the records that the brokers took at this epoch time and later.

        Raises:
            KafkaException: the brokers do not answer.
        """
        self.start(ask_leaders(lambda: self._offset_at(at_s, timeout_s), timeout_s))

    def _offset_at(self, at_s: float, timeout_s: float) -> int:
        asked = TopicPartition(self.topic, PARTITION, int(at_s * 1_000))
        (found,) = answered(self._consumer.offsets_for_times([asked], timeout=timeout_s))
        return found.offset

    def ask_end(self, timeout_s: float) -> tuple[int, int]:
        """Ask the brokers for the first offset and the one behind the last record.

        Raises:
            KafkaException: they do not answer.
        """
        return self._ask_end_by(self._consumer, timeout_s)

    def ask_whole_end(self, timeout_s: float) -> tuple[int, int]:
        """Ask for the first offset and the one behind the last record of all, those of open transactions included.

        A client of its own asks, since what this one reads ends before the first open transaction.

        Raises:
            KafkaException: they do not answer.
        """
        asker = make_client(partial(lasting, LastingConsumer), {**self._config, "isolation.level": "read_uncommitted"})
        try:
            return self._ask_end_by(asker, timeout_s)
        finally:
            asker.close()

    def _ask_end_by(self, consumer: LastingConsumer, timeout_s: float) -> tuple[int, int]:
        at = TopicPartition(self.topic, PARTITION)
        found = ask_leaders(lambda: consumer.get_watermark_offsets(at, timeout=timeout_s), timeout_s)
        if found is None:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        return found

    def read(self, timeout_s: float) -> list[Message]:
        """Take what is there, or wait for the first record."""
        if self._is_finished:  # here, as it may fail: the records of the read before are returned by now
            self._replace_client()
        self.is_at_end = False
        first = self._consumer.poll(timeout_s)
        if first is None:
            return []
        found = [first, *self._consumer.consume(BATCH, 0)]
        return [message for message in found if self._is_record(message)]

    def _replace_client(self) -> None:
        """Go on with another client; the finished one is not closed, as in `close`."""
        self._consumer, self._is_finished = self._connect(), False
        self.start(self.position or self._began_at)

    def read_to_end(self, timeout_s: float) -> Iterator[Message]:
        """Yield the records up to the present end of the topic.

        Raises:
            KafkaException: nothing came for so long.
        """
        self.is_at_end = False
        _, end = self.ask_end(timeout_s)
        give_up_at_s = time.monotonic() + timeout_s
        while not (self.is_at_end or self.position >= end):
            messages = self.read(_STEP_S)
            yield from messages
            if messages:
                give_up_at_s = time.monotonic() + timeout_s
            elif time.monotonic() > give_up_at_s:
                raise KafkaException(self.trouble or KafkaError(KafkaError._TIMED_OUT))

    def close(self) -> None:
        """Disconnect; a client that has failed for good is not closed, as it would wait for what never ends."""
        if not self._is_finished:
            self._consumer.close()

    def _is_record(self, message: Message) -> bool:
        error, offset = message.error(), message.offset()
        if error is None:
            self.position, self.is_at_end, self.trouble = (offset or 0) + 1, False, None
            return True
        if error.code() == KafkaError._PARTITION_EOF:
            self.position, self.is_at_end, self.trouble = offset or 0, True, None
        elif error.code() not in _GROUPLESS:
            self.trouble, self._is_finished = error, self._is_finished or is_fatal(error)
        return False


_READING: Final[Mapping[str, Option]] = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "enable.partition.eof": True,
    "auto.offset.reset": "earliest",
    "isolation.level": "read_committed",
    "allow.auto.create.topics": False,
    "fetch.queue.backoff.ms": 10,
    "queued.min.messages": 5_000,
    "queued.max.messages.kbytes": 4_096,
}


def read_log(
    cluster: ClusterSettings, topic: str, *, since_at_s: float | None = None, timeout_s: float = READ_WITHIN_S
) -> Iterator[Message]:
    """The records of a topic, up to where it ends at this moment.

    Args:
        since_at_s: only those that the brokers took at this epoch time and later.
        timeout_s: how long nothing may come.

    Raises:
        ClusterUnreachable: nothing came for so long.
        NotAuthorized: the topic may not be read.
        ControlNotReady: there is no such topic.
    """
    reader = LogReader(cluster, topic, client_id="stoker-control", options={"fetch.wait.max.ms": QUICK_END_MS})
    try:
        with asking(cluster, topic):
            if since_at_s is None:
                reader.start(reader.ask_end(timeout_s)[0])
            else:
                reader.start_at_time(since_at_s, timeout_s)
            yield from reader.read_to_end(timeout_s)
    finally:
        reader.close()


@contextmanager
def asking(cluster: ClusterSettings, topic: str) -> Iterator[None]:
    """Turn the client's errors into those that `read_log` raises."""
    try:
        yield
    except KafkaException as failed:
        raise _in_words(cluster, topic, failed.args[0]) from failed


def _in_words(cluster: ClusterSettings, topic: str, error: KafkaError) -> Exception:
    if error.code() in _MISSING:
        return ControlNotReady([topic])
    if error.code() in FORBIDDEN:
        return NotAuthorized(cluster.principal, [("Read", f"topic {topic}")])
    return unreachable(cluster, [error.str()])
