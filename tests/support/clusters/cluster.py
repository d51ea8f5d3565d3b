"""`Cluster`: what the worker's simulation relies on of Kafka, so that one suite holds it against the real one too."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol

from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from stoker.topology import Queue
from stoker.topology.cluster.kafka_errors import Remedy, remedy_of
from stoker.topology.cluster.settings import Option
from support.waiting import wait_until

READ_WITHIN_S = 60.0
OPENER = b"opener"
Shares = dict[str, set[tuple[str, int]]]
"""{member: the (topic, partition)s that it has}."""
NO_OPTIONS: Mapping[str, Option] = MappingProxyType({})


class Client(Protocol):
    """A consumer, as far as both clusters have it."""

    def assign(self, partitions: list[TopicPartition]) -> None:
        """Read these and no others."""
        ...

    def incremental_assign(self, partitions: list[TopicPartition]) -> None:
        """Read these as well."""
        ...

    def incremental_unassign(self, partitions: list[TopicPartition]) -> None:
        """Read these no more."""
        ...

    def pause(self, partitions: list[TopicPartition]) -> None:
        """Let these rest."""
        ...

    def resume(self, partitions: list[TopicPartition]) -> None:
        """End the rest."""
        ...

    def seek(self, partition: TopicPartition) -> None:
        """Read one of these on from another offset."""
        ...

    def consume(self, num_messages: int, timeout: float) -> list[Message]:
        """Some of what is there."""
        ...

    def commit(self, *, offsets: list[TopicPartition], asynchronous: bool) -> Any:
        """Commit for the group."""
        ...

    def committed(self, partitions: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        """What the group has committed."""
        ...

    def get_watermark_offsets(self, partition: TopicPartition, timeout: float) -> tuple[int, int] | None:
        """Where a partition begins and ends."""
        ...

    def offsets_for_times(self, partitions: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        """The same, by the marks of `TopicPartition.offset`."""
        ...


class Writer(Protocol):
    """A producer, as far as both clusters have it."""

    def produce(self, topic: str, *, value: bytes, partition: int, on_delivery: Callable[..., None]) -> None:
        """Queue a record."""
        ...

    def flush(self, timeout: float) -> int:
        """Have everything answered."""
        ...


class Cluster(Protocol):
    """Kafka, real or simulated: one group, and topics of the test's own."""

    def make_topic(self, *, partitions: int = 1, most_bytes: int | None = None, is_compacted: bool = False) -> str:
        """Make a topic; `most_bytes` is what it takes of a batch of records."""
        ...

    def write(self, topic: str, *values: bytes | None, key: bytes | None = None) -> None:
        """Write records to partition 0, in this order."""
        ...

    def begin_transaction(self, topic: str, *values: bytes) -> Callable[[bool], None]:
        """Write records to partition 0 in a transaction; what is given ends it: committed (True) or aborted."""
        ...

    def cut(self, topic: str, before: int) -> None:
        """Remove the records of partition 0 below an offset, as retention does."""
        ...

    def compact(self, topic: str) -> None:
        """Write one more record, of the key `OPENER`, and have what was before it in partition 0 compacted."""
        ...

    def reader(self, options: Mapping[str, Option] = NO_OPTIONS) -> Client:
        """A consumer that assigns itself, as those that restore a partition and read the tiers."""
        ...

    def join(self, topic: str) -> Client:
        """A member of the group that has all partitions of a topic."""
        ...

    def replace(self, member: Client, topic: str) -> Client:
        """Let the group take a member for dead; another one has its partitions. The former lives, and does not know."""
        ...

    def writer(self, *, is_lone: bool = False) -> Writer:
        """A producer as the worker settles with; the lone one sends each record by itself."""
        ...

    def share(self, queue: Queue, members: Sequence[str]) -> Shares:
        """How the group shares out a queue's topics."""
        ...


@dataclass(frozen=True, slots=True)
class Seen:
    """One thing that a consumer gave: a record, or `value` None and the offset at which a partition has ended."""

    offset: int
    value: bytes | str | None
    key: bytes | str | None = None
    is_end: bool = False


def at(topic: str, offset: int = 0, partition: int = 0, metadata: str = "") -> TopicPartition:
    """A place in a topic."""
    return TopicPartition(topic, partition, offset, metadata)


def read_on(client: Client) -> list[Seen]:
    """What a client gives of one partition, until that has ended."""
    found: list[Seen] = []

    def ends() -> bool:
        found.extend(map(_seen, client.consume(100, 0.1)))
        return bool(found) and found[-1].is_end

    wait_until(ends, READ_WITHIN_S, "the partition's end")
    return found


def _seen(message: Message) -> Seen:
    error, offset = message.error(), message.offset()
    assert offset is not None
    if error is None:
        return Seen(offset, message.value(), message.key())
    assert error.code() == KafkaError._PARTITION_EOF, error
    return Seen(offset, None, is_end=True)


def read_all(cluster: Cluster, topic: str, offset: int = 0) -> list[Seen]:
    """What a new reader gives of partition 0 from an offset on, to its end."""
    reader = cluster.reader()
    reader.assign([at(topic, offset)])
    return read_on(reader)


def end_at(offset: int) -> Seen:
    """A partition's end."""
    return Seen(offset, None, is_end=True)


def refusal_of(client: Client, *places: TopicPartition) -> str | None:
    """Commit and wait for the answer: the error's name, None where all was taken."""
    try:
        client.commit(offsets=list(places), asynchronous=False)
    except KafkaException as failure:
        return str(failure.args[0].name())
    return None


def committed(client: Client, topic: str, partition: int = 0) -> tuple[int, str]:
    """The group's offset, with metadata."""
    found = ask_committed(client, topic, partition)
    return found.offset, found.metadata or ""


def ask_committed(client: Client, topic: str, partition: int = 0) -> TopicPartition:
    """The coordinator's answer; one that comes or goes at this moment, as on a busy machine, is asked again."""

    def answer() -> list[TopicPartition]:
        try:
            answered = client.committed([at(topic, partition=partition)], timeout=10.0)
        except KafkaException as refusal:
            if remedy_of(refusal.args[0]) is Remedy.WAIT:
                return []
            raise
        return [found for found in answered if found.error is None or remedy_of(found.error) is not Remedy.WAIT]

    (found,) = wait_until(answer, READ_WITHIN_S, "the coordinator's answer")
    assert found.error is None
    return found
