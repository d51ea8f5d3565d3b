"""`Reading`: makes entries of what a consumer gives, and keeps how far it was read, until both are written at once."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Final

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from ...topology import ClusterSettings, Pipeline
from ...topology.cluster.clients import make_client
from ...topology.cluster.forgotten_brokers import LastingConsumer, lasting
from ...topology.cluster.leaders import answered
from ...topology.cluster.settings import ANY_SIZE_BYTES
from ...topology.declaration.topics import HOLDS_JOBS, Role, declared_topics
from .database import Partition
from .entries import DispositionEntry, JobEntry, TopicOrigin, entries_of_event, entry_of_record
from .index_writer import IndexWriter

REQUEST_S: Final = 10.0
ANSWER_S: Final = 1.0
"""How long a turn waits to hear whether the brokers answer: a fetch that finds nothing is held for half of it."""
_QUEUED_KIB: Final = 32_768
_LATEST: Final = -1
"""Kafka's mark, in place of a time, for where a partition ends."""
UNREADABLE: Final = "the index cannot read %s/%d (%s); it tries again, and is behind until then"
"""Logged with topic, partition and reason."""


def make_reader(cluster: ClusterSettings, namespace: str, on_error: object) -> Consumer:
    """A consumer that is assigned its partitions, and commits nothing."""
    config = cluster.reader_config(
        client_id=f"stoker-status-{namespace}",
        fetch_queue_backoff_ms=10,
        queued_max_messages_kbytes=_QUEUED_KIB,
        queued_min_messages=20_000,
        reconnect_backoff_max_ms=2_000,
        receive_message_max_bytes=ANY_SIZE_BYTES,
        log_level=2,
    )
    own = {
        "group.id": f"{namespace}.status",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "earliest",
        "isolation.level": "read_committed",
        "enable.partition.eof": True,
        "error_cb": on_error,
    }
    return make_client(partial(lasting, LastingConsumer), {**config, **own})


def origins_of(pipeline: Pipeline, *, with_events: bool = False) -> Mapping[str, TopicOrigin]:
    """{topic: its queue and role} of those that hold jobs, and of the events if they are asked for."""
    return {
        spec.name: TopicOrigin(queue=spec.owner, role=spec.role)
        for spec in declared_topics(pipeline)
        if spec.role in HOLDS_JOBS or (with_events and spec.role is Role.EVENTS)
    }


def partitions_of(consumer: Consumer, topics: Iterable[str]) -> set[Partition]:
    """The partitions of those topics that exist.

    Raises:
        KafkaException: no broker answers.
    """
    known = consumer.list_topics(timeout=REQUEST_S).topics
    return {(name, number) for name in topics if name in known for number in known[name].partitions}


def starts_of(
    consumer: Consumer, places: Sequence[Partition], known: Mapping[Partition, int], keep_s: float
) -> dict[Partition, int]:
    """Where to go on in each partition; in those that were never read, at what is not forgotten at once.

    Raises:
        KafkaException: no broker answers.
    """
    new = [place for place in places if place not in known]
    if not new:
        return {place: known[place] for place in places}
    # First the ends: what comes after them is read, also where all there was is older. The client's own mark for the
    # end would be looked up later, and what came in between be skipped.
    ends = _asked(consumer, new, _LATEST)
    since = _asked(consumer, new, int((time.time() - keep_s) * 1e3))
    starts = {place: since[place] if since[place] >= 0 else ends[place] for place in new}
    return {place: known.get(place, starts.get(place, 0)) for place in places}


def _asked(consumer: Consumer, places: Iterable[Partition], at_ms: int) -> dict[Partition, int]:
    asked = [TopicPartition(*place, at_ms) for place in places]
    found = answered(consumer.offsets_for_times(asked, timeout=REQUEST_S))
    return {(part.topic, part.partition): part.offset for part in found}


def lag_of(consumer: Consumer, places: Iterable[Partition], known: Mapping[Partition, int]) -> int:
    """How many records are still to be read of these partitions, by what the client knows of them."""
    behind = 0
    for place in places:
        try:
            low, high = consumer.get_watermark_offsets(TopicPartition(*place), cached=True)
        except KafkaException:
            continue
        if high > 0:
            behind += max(high - max(known.get(place, low), low), 0)
    return behind


def is_answered(consumer: Consumer, place: Partition) -> bool:
    """Whether the leader of a partition answers; what the client remembers of it stands still without one."""
    try:
        return consumer.get_watermark_offsets(TopicPartition(*place), timeout=ANSWER_S) is not None
    except KafkaException:
        return False


class Reading:
    """The entries and dispositions that were read and are not written yet, and the offsets up to which these are all.

    Attributes:
        read: how many entries and dispositions there were since the start.
        newest_ms: the newest record, in ms since 1970.
    """

    def __init__(self, origins: Mapping[str, TopicOrigin]) -> None:
        self._origins = origins
        self._entries: list[JobEntry] = []
        self._dispositions: list[DispositionEntry] = []
        self._offsets: dict[Partition, int] = {}
        self.read = 0
        self.newest_ms = 0

    def __len__(self) -> int:
        return len(self._entries)

    def take(self, place: Partition, message: Message) -> None:
        """Read one record or event."""
        origin = self._origins[place[0]]
        self.newest_ms = max(self.newest_ms, message.timestamp()[1])
        if origin.role is Role.EVENTS:
            value = message.value()
            self._entries.extend(entries_of_event(value) if value else ())
        else:
            found = entry_of_record(message, origin)
            if isinstance(found, DispositionEntry):
                self._dispositions.append(found)
            elif found is not None:
                self._entries.append(found)
        self._offsets[place] = (message.offset() or 0) + 1

    def note_end(self, place: Partition, offset: int | None) -> None:
        """Note that a partition was read to its end, which may lie behind the marks of transactions."""
        if offset is not None and offset > self._offsets.get(place, 0) and place[0] in self._origins:
            self._offsets[place] = offset

    def write(self, writer: IndexWriter) -> None:
        """Write all of it, in one transaction."""
        if self._offsets:
            writer.apply(self._entries, self._dispositions, self._offsets)
        self.read += len(self._entries) + len(self._dispositions)
        self._entries, self._dispositions, self._offsets = [], [], {}
