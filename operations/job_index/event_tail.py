"""`EventTail`: reads the events of a pipeline from now on, or from a time on, beside any group and without an index."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Final

from confluent_kafka import OFFSET_END, Consumer, KafkaError, KafkaException, TopicPartition

from ...topology import Pipeline
from ...topology.cluster.clients import make_client
from ...topology.cluster.forgotten_brokers import LastingConsumer, lasting
from ...topology.cluster.handshake import unreachable
from ...topology.cluster.kafka_errors import FORBIDDEN
from ...topology.cluster.leaders import answered
from ...topology.cluster.settings import ANY_SIZE_BYTES, ClusterSettings, NotAuthorized
from .entries import JobEntry, entries_of_event
from .job_filter import JobFilter, has_words

BATCH: Final = 500
REQUEST_S: Final = 10.0
_UNASKED: Final = frozenset({KafkaError.GROUP_AUTHORIZATION_FAILED, KafkaError._PARTITION_EOF})
"""The first is of the group that librdkafka looks for unasked."""


class EventTail:
    """Reads events as they come. Not thread-safe.

    Attributes:
        trouble: why nothing comes, where the brokers do not answer; empty otherwise.
    """

    def __init__(self, pipeline: Pipeline, cluster: ClusterSettings) -> None:
        self._topic, self._cluster = pipeline.events_topic, cluster
        self.trouble = ""
        config: dict[str, object] = {
            **cluster.reader_config(
                client_id=f"stoker-tail-{pipeline.namespace}",
                receive_message_max_bytes=ANY_SIZE_BYTES,
                reconnect_backoff_max_ms=2_000,
                fetch_queue_backoff_ms=10,
                log_level=0,
            ),
            "group.id": f"{self._topic}.reader",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "latest",
            "isolation.level": "read_committed",
            "error_cb": self._note,
        }
        self._consumer: Consumer = make_client(lambda config: lasting(LastingConsumer, config), config)

    def start(self, since: datetime | None = None) -> None:
        """Begin with what comes from now on, or with what the brokers took since then.

        Raises:
            ClusterUnreachable, NotAuthorized: the brokers do not answer, or forbid it.
        """
        try:
            known = self._consumer.list_topics(self._topic, timeout=REQUEST_S).topics[self._topic]
            if known.error is not None:
                raise KafkaException(known.error)
            self._consumer.assign(self._places(list(known.partitions), since))
        except KafkaException as failed:
            raise self._in_words(failed.args[0]) from failed

    def read(self, timeout_s: float) -> Iterator[JobEntry]:
        """Yield what has come of jobs since the last call; wait so long for the first event.

        Raises:
            NotAuthorized: the events may not be read (any more).
        """
        first = self._consumer.poll(timeout_s)
        if first is None:
            return
        for message in (first, *self._consumer.consume(BATCH, 0)):
            error = message.error()
            if error is None:
                self.trouble = ""
                yield from entries_of_event(message.value() or b"")
            elif error.code() in FORBIDDEN and error.code() not in _UNASKED:
                raise self._in_words(error)

    def close(self) -> None:
        """Disconnect."""
        self._consumer.close()

    def _places(self, partitions: list[int], since: datetime | None) -> list[TopicPartition]:
        if since is None:
            ends = (self._consumer.get_watermark_offsets(self._at(number), timeout=REQUEST_S) for number in partitions)
            return [
                self._at(number, OFFSET_END if end is None else end[1])
                for number, end in zip(partitions, ends, strict=True)
            ]
        since_ms = int(since.timestamp() * 1_000)
        asked = [self._at(number, since_ms) for number in partitions]
        return answered(self._consumer.offsets_for_times(asked, timeout=REQUEST_S))

    def _at(self, partition: int, offset: int = 0) -> TopicPartition:
        return TopicPartition(self._topic, partition, offset)

    def _note(self, error: KafkaError) -> None:
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self.trouble = f"the brokers do not answer ({error.str()})"

    def _in_words(self, error: KafkaError) -> Exception:
        if error.code() in FORBIDDEN:
            return NotAuthorized(self._cluster.principal, [("Read", f"topic {self._topic}")])
        if error.code() in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC):
            return EventsMissing(self._topic)
        return unreachable(self._cluster, [error.str()])


class EventsMissing(Exception):
    """There is no topic of events."""

    def __init__(self, topic: str) -> None:
        super().__init__(f"the cluster has no topic {topic}, so there are no events: run `stoker topology apply`")


def takes(wanted: JobFilter, entry: JobEntry) -> bool:
    """Whether a filter takes what an event holds of a job. Pure."""
    return _takes_job(wanted, entry) and _takes_run(wanted, entry) and _takes_time(wanted, entry)


def _takes_job(wanted: JobFilter, entry: JobEntry) -> bool:
    of_any = (
        (wanted.queues, entry.queue),
        (wanted.types, entry.job_type),
        (wanted.states, entry.state),
    )
    named = ((wanted.tenant, entry.tenant), (wanted.key, entry.key))
    return all(not some or one in some for some, one in of_any) and all(not one or one == has for one, has in named)


def _takes_run(wanted: JobFilter, entry: JobEntry) -> bool:
    named = ((wanted.worker, entry.worker), (wanted.release, entry.release))
    return all(not one or one == has for one, has in named) and _takes_failure(wanted, entry)


def _takes_failure(wanted: JobFilter, entry: JobEntry) -> bool:
    if not (wanted.error or wanted.fingerprint or wanted.words):
        return True
    return any(
        (not wanted.error or wanted.error in (one.error_type, one.error_type.rpartition(".")[2]))
        and one.fingerprint.startswith(wanted.fingerprint)
        and (not wanted.words or has_words(one.message, wanted.words))
        for one in entry.history
    )


def _takes_time(wanted: JobFilter, entry: JobEntry) -> bool:
    since_ms = 0.0 if wanted.since is None else wanted.since.timestamp() * 1_000
    return entry.enqueued_ms >= since_ms and (
        wanted.until is None or entry.enqueued_ms < wanted.until.timestamp() * 1_000
    )
