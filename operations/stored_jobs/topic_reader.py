"""Read a stretch of a topic from its log: no group, committed records only, a fixed end, no wait without a bound."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Final, Self, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from ...topology import ClusterSettings
from ...topology.cluster.admin_connection import UNREACHABLE_CODES
from ...topology.cluster.clients import make_client
from ...topology.cluster.handshake import unreachable
from ...topology.cluster.kafka_errors import FORBIDDEN, Remedy, remedy_of
from ...topology.cluster.leaders import answered, ask_leaders
from ...topology.cluster.settings import ANY_SIZE_BYTES, NotAuthorized
from ...topology.wire import names
from .errors import ReadStalled, TopicAbsent

REQUEST_TIMEOUT_S: Final = 10.0
STALL_S: Final = 30.0
_POLL_S: Final = 0.03
"""Short, since the client waits for a full batch that long even when the log has ended."""
_BATCH: Final = 500
_LAST_CLIENT_ERRORS: Final = 10

NO_MATTER: Final = frozenset({KafkaError.GROUP_AUTHORIZATION_FAILED})
"""Errors of the group that librdkafka looks for unasked: a reader needs none, and no rights on one."""

Answer = TypeVar("Answer")

ReadProgress = Callable[[int, int], None]
"""Called with (offsets passed, offsets in all)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A stretch of one partition, from `start` up to and without `end`; some of its offsets may hold no record."""

    partition: int
    start: int
    end: int

    @property
    def length(self) -> int:
        """How many offsets lie in it."""
        return max(self.end - self.start, 0)


class TopicReader:
    """Reads one topic outside of any group, so that it neither moves offsets nor takes partitions from workers.

    Only what lies before the last stable offset is read: an open transaction's records come with the next reading.
    """

    def __init__(self, cluster: ClusterSettings, topic: str, *, stall_s: float = STALL_S) -> None:
        """Connect.

        Args:
            stall_s: how long the log may stay silent before its end is reached.
        """
        self.topic, self._stall_s = topic, stall_s
        self._cluster, self._client_errors = cluster, deque[str](maxlen=_LAST_CLIENT_ERRORS)
        config = cluster.client_config(
            auto_offset_reset="earliest",
            fetch_wait_max_ms=100,
            queued_max_messages_kbytes=16_384,
            receive_message_max_bytes=ANY_SIZE_BYTES,
            log_level=2,
        )
        own = {
            "group.id": names.reader_group(topic),  # the client insists on a name; it is never joined or committed to
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
        }
        self._consumer = make_client(Consumer, {**config, **own, "error_cb": self._note_client_error})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _note_client_error(self, error: KafkaError) -> None:
        self._client_errors.append(error.str())

    def close(self) -> None:
        """Disconnect."""
        self._consumer.close()

    def partitions(self) -> list[int]:
        """The topic's partitions, ascending.

        Raises:
            TopicAbsent: there is no such topic.
            NotAuthorized: the topic may not be looked at.
            ClusterUnreachable: the brokers did not answer.
        """
        return self.partitions_of(self.topic)

    def partitions_of(self, topic: str) -> list[int]:
        """The partitions of any topic; errors as of `partitions`."""
        found = self._ask(lambda: self._consumer.list_topics(topic, timeout=REQUEST_TIMEOUT_S)).topics[topic]
        if found.error is not None and found.error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise TopicAbsent(topic)
        if found.error is not None and found.error.code() in FORBIDDEN:
            raise NotAuthorized(self._cluster.principal, [("Describe", f"topic {topic}")])
        if found.error is not None:
            raise KafkaException(found.error)
        return sorted(found.partitions)

    def spans(self) -> list[Span]:
        """All that the topic holds now, one span for each partition, empty ones included."""
        return [self._span(partition) for partition in self.partitions()]

    def _span(self, partition: int) -> Span:
        place = TopicPartition(self.topic, partition)
        low, high = self._ask(lambda: self._consumer.get_watermark_offsets(place, timeout=REQUEST_TIMEOUT_S))
        return Span(partition=partition, start=low, end=high)

    def offsets_at(self, instant: datetime) -> dict[int, int | None]:
        """{partition: first offset with a timestamp at or after the instant}; None where the log ends before it."""
        at_ms = int(instant.timestamp() * 1_000)
        asked = [TopicPartition(self.topic, partition, at_ms) for partition in self.partitions()]
        found = self._ask(lambda: answered(self._consumer.offsets_for_times(asked, timeout=REQUEST_TIMEOUT_S)))
        return {part.partition: part.offset if part.offset >= 0 else None for part in found}

    def _ask(self, request: Callable[[], Answer]) -> Answer:
        """Ask until the partition's leader is known: after an election or a creation it is not, for a moment."""
        try:
            return ask_leaders(request, REQUEST_TIMEOUT_S)
        except KafkaException as failed:
            error = failed.args[0]
            if error.code() not in UNREACHABLE_CODES:
                raise
            self._consumer.poll(0)  # delivers the connection's own error, which explains more than a timeout
            raise unreachable(self._cluster, [*self._client_errors, error.str()]) from failed

    def read(self, spans: Iterable[Span], progress: ReadProgress | None = None) -> Iterator[Message]:
        """Yield the records of the spans: ascending within a partition, partitions interleaved as they arrive.

        Raises:
            ReadStalled: nothing arrived for `stall_s` before the end.
            TopicAbsent: the topic was deleted meanwhile.
            NotAuthorized: the topic may not be read.
        """
        forbidden = NotAuthorized(self._cluster.principal, [("Read", f"topic {self.topic}")])
        wanted = [span for span in spans if span.length]
        walk = _Walk(self._consumer, self.topic, wanted, forbidden, lambda partition: self._span(partition).end)
        total = walk.remaining()
        silent_since_at_s = time.monotonic()
        while walk.open:
            batch = self._consumer.consume(_BATCH, _POLL_S)
            if batch:
                yield from walk.take(batch)
                silent_since_at_s = time.monotonic()  # after the caller has worked, which may have taken long
                if progress is not None:
                    progress(total - walk.remaining(), total)
            elif time.monotonic() - silent_since_at_s > self._stall_s:
                raise ReadStalled(self.topic, sorted(walk.open), self._stall_s)
        self._consumer.unassign()


class _Walk:
    """How far a reading has come in each of its partitions.

    A partition is finished by a record at or past its end, or by the client's word that the log ends: transaction
    markers and compaction leave offsets without a record, so that the last ones may never come. A new leader may report
    for a moment that its log ends before what the one before has confirmed, so an early end is asked about
    (`find_end`): that is answered once the leader knows it.
    """

    def __init__(
        self,
        consumer: Consumer,
        topic: str,
        spans: Sequence[Span],
        forbidden: NotAuthorized,
        find_end: Callable[[int], int],
    ) -> None:
        self._consumer, self._topic, self._forbidden, self._find_end = consumer, topic, forbidden, find_end
        self.open = {span.partition: span for span in spans}
        self._next = {span.partition: span.start for span in spans}
        consumer.assign([TopicPartition(topic, span.partition, span.start) for span in spans])
        consumer.resume([TopicPartition(topic, span.partition) for span in spans])  # an earlier walk has paused them

    def remaining(self) -> int:
        """Offsets still to be passed."""
        return sum(max(span.end - self._next[number], 0) for number, span in self.open.items())

    def take(self, batch: Sequence[Message]) -> Iterator[Message]:
        """Yield those of the batch that belong to the spans."""
        for message in batch:
            if self._note(message):
                yield message

    def _note(self, message: Message) -> bool:
        partition, offset, error = message.partition(), message.offset(), message.error()
        if error is not None:
            return self._note_error(partition, offset, error)
        if partition is None or offset is None or partition not in self.open:
            return False
        span = self.open[partition]
        self._next[partition] = offset + 1
        if offset + 1 >= span.end:
            self._finish(partition)
        return offset < span.end

    def _note_error(self, partition: int | None, offset: int | None, error: KafkaError) -> bool:
        if error.code() == KafkaError._PARTITION_EOF:
            if partition in self.open and self._has_ended(partition, offset or 0):
                self._finish(partition)
            return False
        if error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise TopicAbsent(self._topic)
        if error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
            raise self._forbidden
        if remedy_of(error) is Remedy.WAIT or error.code() in NO_MATTER:
            return False
        raise KafkaException(error)

    def _has_ended(self, partition: int, offset: int) -> bool:
        return offset >= self.open[partition].end or offset >= self._find_end(partition)

    def _finish(self, partition: int) -> None:
        del self.open[partition]
        self._consumer.pause([TopicPartition(self._topic, partition)])  # the log may grow for ever behind the span


def require_topics(cluster: ClusterSettings, *topics: str) -> None:
    """See that the topics exist before anything is published.

    Raises:
        TopicAbsent: one of them does not.
    """
    with TopicReader(cluster, topics[0]) as reader:
        for topic in topics:
            reader.partitions_of(topic)
