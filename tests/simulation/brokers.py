"""`SimBrokers`: topics, and one group's commits, in memory; who may commit is decided as a coordinator does."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import count

from confluent_kafka import KafkaError, Message, TopicPartition

from simulation.virtual_time import CLOCK
from stoker.topology.wire.headers import HeaderList

Place = tuple[str, int]
Committed = tuple[int, str]
OnAppend = Callable[[Message], None]


@dataclass
class Log:
    """One partition; offsets of records that are gone, and of transactions' markers, are missing from it.

    Attributes:
        low: the first offset that is not truncated; high: the one that the next record gets.
        open_at: where the transaction began that has not ended; None where all have.
    """

    records: dict[int, Message] = field(default_factory=dict)
    low: int = 0
    high: int = 0
    open_at: int | None = None

    @property
    def end(self) -> int:
        """How far it can be read: as Kafka's last stable offset, since consumers see committed records alone."""
        return self.high if self.open_at is None else self.open_at

    def read(self, position: int, limit: int) -> tuple[list[Message], int]:
        """Records from a position on, and the position behind them."""
        found: list[Message] = []
        at = max(position, self.low)
        while at < self.end and len(found) < limit:
            if at in self.records:
                found.append(self.records[at])
            at += 1
        return found, at

    def begin_transaction(self) -> None:
        """Nothing that is written from now on can be read before the transaction has ended."""
        assert self.open_at is None
        self.open_at = self.high

    def end_transaction(self, aborted: Iterable[int] = ()) -> None:
        """Its marker takes an offset; records of it that were aborted are never seen."""
        for offset in aborted:
            del self.records[offset]
        self.open_at = None
        self.high += 1

    def cut(self, before: int) -> None:
        """Retention removes everything below an offset."""
        self.low = max(self.low, before)
        self.records = {offset: message for offset, message in self.records.items() if offset >= self.low}

    def compact(self) -> None:
        """Of each key the last record is left, at its offset."""
        last = {message.key(): offset for offset, message in sorted(self.records.items())}
        self.records = {offset: self.records[offset] for offset in sorted(last.values())}


class SimBrokers:
    """The cluster.

    Attributes:
        metadata_limit: characters of metadata that a commit may have, less one.
        committed: the group's offsets, with metadata.
        limits: {topic: bytes of a record that it takes}; no limit where it has none.
        fenced: the members that the group takes for dead: it refuses their commits.
        epochs: under which chunks of progress are written, no two under the same.
        read_from: the offsets at which consumers that assigned themselves began.
    """

    def __init__(self, metadata_limit: int) -> None:
        self.metadata_limit = metadata_limit
        self.logs: defaultdict[Place, Log] = defaultdict(Log)
        self.limits: dict[str, int] = {}
        self.committed: dict[Place, Committed] = {}
        self.epochs = count(1)
        self.fenced: set[object] = set()
        self.read_from: defaultdict[Place, list[int]] = defaultdict(list)
        self.on_append: OnAppend = lambda _message: None
        self.on_commit: Callable[[Place, object], None] = lambda _place, _member: None

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
            headers=headers or None,  # type: ignore[arg-type]  # the stub's list is invariant
            timestamp=(1, int(CLOCK.time() * 1_000)),
        )
        log.records[log.high] = message
        log.high += 1
        self.on_append(message)
        return message

    def takes(self, topic: str, size_bytes: int) -> bool:
        """Whether a batch of so many bytes is not too large for a topic."""
        return size_bytes <= self.limits.get(topic, size_bytes)

    def commit(self, places: list[TopicPartition], member: object) -> KafkaError | None:
        """Take a member's commit, but for partitions whose metadata is too large."""
        if member in self.fenced:
            return KafkaError(KafkaError.UNKNOWN_MEMBER_ID)
        error = None
        for place in places:
            if len(place.metadata or "") >= self.metadata_limit:
                error = KafkaError(KafkaError.OFFSET_METADATA_TOO_LARGE)
                continue
            self.committed[place.topic, place.partition] = place.offset, place.metadata or ""
            self.on_commit((place.topic, place.partition), member)
        return error
