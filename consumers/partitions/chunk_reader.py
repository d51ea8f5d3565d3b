"""Reads back from the progress topic what was incomplete of a partition: the chunks that a commit refers to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from ...topology.wire.commit_metadata import CommitMetadata, OffsetRange, SpilledAt
from ..kafka.log_tail import REQUEST_TIMEOUT_S, ShouldStop, read_tail
from ..progress.offset_set import OffsetSet, chunk_of, chunk_size, first_of, full_bits
from .chunk_records import ChunkKey, KnownChunk, decode_chunk

_GONE: Final = frozenset(
    {
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._UNKNOWN_TOPIC,
        KafkaError._UNKNOWN_PARTITION,
        KafkaError._AUTO_OFFSET_RESET,
        KafkaError.OFFSET_OUT_OF_RANGE,
    }
)


@dataclass(slots=True)
class FoundChunks:
    """The chunks of one partition on the progress topic, from the offset on that its commit refers to.

    Attributes:
        by_number: the chunks of the epoch that counts.
        keys: of all records that are there, those of other epochs included, by the chunk's number.
        damaged: the chunks whose records cannot be read.
    """

    by_number: dict[int, KnownChunk] = field(default_factory=dict)
    keys: list[tuple[int, bytes]] = field(default_factory=list)
    damaged: list[int] = field(default_factory=list)

    def position(self, state: CommitMetadata) -> int:
        """Up to where anything is known; it may be further than the commit knows, which is older."""
        ends = (first_of(number) + chunk.known for number, chunk in self.by_number.items())
        return max(state.position, *ends, 0)

    def incomplete(self, committed: int, position: int) -> OffsetSet:
        """The offsets between these two that are incomplete; of a chunk that is not there, all are."""
        found = OffsetSet()
        for number in range(chunk_of(committed), chunk_of(position - 1) + 1) if committed < position else ():
            chunk = self.by_number.get(number)
            found.set_chunk(number, full_bits() if chunk is None else chunk.bits)
        found.keep(committed, position)
        return found

    def unread(self, committed: int) -> list[OffsetRange]:
        """The stretches that were written and cannot be read: a record is damaged, or missing before others."""
        last = max([*self.by_number, *self.damaged], default=chunk_of(committed) - 1)
        lacking = [n for n in range(chunk_of(committed), last + 1) if n not in self.by_number]
        return [(max(committed, first_of(number)), first_of(number) + chunk_size()) for number in lacking]


def read_chunks(
    consumer: Consumer, progress_topic: str, partition: TopicPartition, spilled_at: SpilledAt, should_stop: ShouldStop
) -> FoundChunks | None:
    """Read the chunks of a partition; None where there is no progress topic.

    Raises:
        Unrestorable, KafkaException: the brokers do not answer.
    """
    tail = TopicPartition(progress_topic, partition.partition, spilled_at.offset)
    values: dict[bytes, bytes] = {}
    own = f"{partition.topic}/".encode()
    try:
        _, end = consumer.get_watermark_offsets(tail, timeout=REQUEST_TIMEOUT_S)
        for message in read_tail(consumer, tail, end, should_stop):
            key, value = message.key(), message.value()
            if isinstance(key, bytes) and key.startswith(own):
                values[key] = value or b""
    except KafkaException as failure:
        if failure.args[0].code() in _GONE:
            return None
        raise
    return _found({key: value for key, value in values.items() if value}, partition, spilled_at.epoch)


def _found(values: dict[bytes, bytes], partition: TopicPartition, epoch: int) -> FoundChunks:
    found = FoundChunks()
    for raw, value in values.items():
        key = ChunkKey.decode(raw)
        if key is None or (key.topic, key.partition) != (partition.topic, partition.partition):
            continue
        found.keys.append((key.number, raw))
        if key.epoch != epoch:
            continue
        chunk = decode_chunk(raw, value)
        if chunk is None:
            found.damaged.append(key.number)
        else:
            found.by_number[key.number] = chunk
    return found
