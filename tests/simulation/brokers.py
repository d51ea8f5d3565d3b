"""`SimBrokers`: topics, and one group's commits, in memory; who may commit is decided as a coordinator does."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

from confluent_kafka import KafkaError, Message, TopicPartition

from simulation.virtual_time import CLOCK
from stoker.topology.wire.headers import HeaderList

Place = tuple[str, int]
Committed = tuple[int, str]
OnAppend = Callable[[Message], None]


@dataclass
class Log:
    """One partition; offsets of records that are gone, and of transactions' markers, are missing from it."""

    records: dict[int, Message] = field(default_factory=dict)
    low: int = 0
    high: int = 0

    def read(self, position: int, limit: int) -> tuple[list[Message], int]:
        """Records from a position on, and the position behind them."""
        found: list[Message] = []
        at = max(position, self.low)
        while at < self.high and len(found) < limit:
            if at in self.records:
                found.append(self.records[at])
            at += 1
        return found, at


class SimBrokers:
    """The cluster.

    Attributes:
        metadata_limit: characters of metadata that a commit may have, less one.
        committed: the group's offsets, with metadata.
        limits: {topic: bytes of a record that it takes}; no limit where it has none.
        read_from: the offsets at which consumers that assigned themselves began.
    """

    def __init__(self, metadata_limit: int) -> None:
        self.metadata_limit = metadata_limit
        self.logs: defaultdict[Place, Log] = defaultdict(Log)
        self.limits: dict[str, int] = {}
        self.committed: dict[Place, Committed] = {}
        self.read_from: defaultdict[Place, list[int]] = defaultdict(list)
        self.on_append: OnAppend = lambda _message: None
        self.on_commit: Callable[[Place], None] = lambda _place: None

    def append(
        self, topic: str, partition: int, key: bytes | str | None, value: bytes | None, headers: HeaderList
    ) -> Message:
        """Write a record."""
        log = self.logs[topic, partition]
        message = Message(
            topic=topic,
            partition=partition,
            offset=log.high,
            key=key.encode() if isinstance(key, str) else key,
            value=value,
            headers=headers,  # type: ignore[arg-type]  # the stub's list is invariant
            timestamp=(1, int(CLOCK.time() * 1_000)),
        )
        log.records[log.high] = message
        log.high += 1
        self.on_append(message)
        return message

    def takes(self, topic: str, value: bytes | None, headers: HeaderList) -> bool:
        """Whether a record is not too large for its topic."""
        size_bytes = len(value or b"") + sum(len(part) for _, part in headers)
        return size_bytes <= self.limits.get(topic, size_bytes)

    def commit(self, places: list[TopicPartition]) -> KafkaError | None:
        """Take a commit, but for partitions whose metadata is too large."""
        error = None
        for place in places:
            if len(place.metadata or "") >= self.metadata_limit:
                error = KafkaError(KafkaError.OFFSET_METADATA_TOO_LARGE)
                continue
            self.committed[place.topic, place.partition] = place.offset, place.metadata or ""
            self.on_commit((place.topic, place.partition))
        return error
