"""What was incomplete is read back from the progress topic as it was written, and never less than that."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pytest
from confluent_kafka import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from simulation.brokers import SimBrokers
from simulation.clients import SimConsumer
from simulation.virtual_time import virtual_time
from stoker.consumers.partitions.chunk_reader import FoundChunks, read_chunks
from stoker.consumers.partitions.chunk_records import ChunkKey, KnownChunk, decode_chunk, encode_chunk
from stoker.consumers.progress.offset_set import OffsetSet
from stoker.topology.wire.commit_metadata import CommitMetadata, SpilledAt
from support.small_chunks import small_chunks

KEY = ChunkKey("unit.q", 3, 2**62 - 1, 7)
OFFSETS = st.integers(0, 60)


@pytest.fixture(scope="module", autouse=True)
def _chunks() -> Iterator[None]:
    """Eight offsets in each, and a clock that stands still."""
    with small_chunks(), virtual_time():
        yield


def test_a_key_survives_its_encoding() -> None:
    """It names the topic, the partition, the epoch and the chunk, for people as well."""
    assert KEY.encode() == b"unit.q/3/3fffffffffffffff/7"
    assert ChunkKey.decode(KEY.encode()) == KEY


@pytest.mark.parametrize("key", [None, b"", b"unit.q", b"unit.q/3/x/7", b"unit.q/3/1/7/9", b"\xff/3/1/7", "a/b/c/d"])
def test_a_foreign_key_is_none_of_a_chunk(key: bytes | str | None) -> None:
    """Whatever else is on the topic is passed over."""
    assert ChunkKey.decode(key) is None


@given(st.integers(0, 8), st.integers(0, 255))
def test_a_chunk_survives_its_encoding(known: int, bits: int) -> None:
    """What was not known when it was written counts as incomplete."""
    here = bits & (1 << known) - 1
    found = decode_chunk(b"k", encode_chunk(b"k", known, bytes([here])))
    assert found == KnownChunk(known, bytes([here | 0xFF >> known << known]))


def test_a_chunk_of_full_size_takes_eight_kilobytes_at_most() -> None:
    """The least regular one there is, and that of one in a hundred."""
    with small_chunks(16):
        odd = bytes(hash((number, "x")) & 0xFF for number in range(8_192))
        assert len(encode_chunk(KEY.encode(), 65_536, odd)) < 8_300
        found = OffsetSet((at, at + 1) for at in range(0, 65_536, 100))
        value = encode_chunk(KEY.encode(), 65_536, found.bits_of(0))
        assert len(value) < 1_500
        assert decode_chunk(KEY.encode(), value) == KnownChunk(65_536, found.bits_of(0))


@given(st.integers(0, 8), st.integers(0, 255), st.data())
def test_a_damaged_chunk_is_not_read(known: int, bits: int, data: st.DataObject) -> None:
    """One bit flipped, a tail cut off, or another chunk's record: nothing is taken for complete that may not be."""
    value = bytearray(encode_chunk(b"k", known, bytes([bits & (1 << known) - 1])))
    assert decode_chunk(b"other", bytes(value)) is None
    assert decode_chunk(b"k", bytes(value[: data.draw(st.integers(0, len(value) - 1))])) is None
    bit = data.draw(st.integers(0, len(value) * 8 - 1))
    value[bit // 8] ^= 1 << bit % 8
    assert decode_chunk(b"k", bytes(value)) is None


@given(st.sets(OFFSETS), st.sets(st.integers(0, 8)), OFFSETS, OFFSETS, st.sampled_from([0, 0, 5]))
def test_what_is_lacking_counts_as_incomplete(
    left: set[int], lacking: set[int], known_to: int, further: int, committed: int
) -> None:
    """Chunks that are lacking, and what was delivered after they were written; all else is as it was."""
    left = {offset for offset in left if offset < known_to}
    written = OffsetSet((offset, offset + 1) for offset in left)
    found = FoundChunks()
    for number in set(range(-(-known_to // 8))) - lacking:
        known = min(8, known_to - number * 8)
        chunk = decode_chunk(b"k", encode_chunk(b"k", known, written.bits_of(number)))
        assert chunk is not None
        found.by_number[number] = chunk
    there = [number * 8 + found.by_number[number].known for number in found.by_number]
    position = found.position(CommitMetadata(committed_offset=committed, position=committed + further))
    assert position == max([committed + further, *there])
    expected = {
        offset
        for offset in range(committed, position)
        if offset in left or offset // 8 not in found.by_number or offset >= known_to
    }
    assert [offset for run in found.incomplete(committed, position).runs() for offset in range(*run)] == sorted(
        expected
    )


class PartitionProgress:
    """A progress topic, and one partition's part of it."""

    def __init__(self) -> None:
        self.brokers = SimBrokers(4_096)

    def write(self, epoch: int, number: int, bits: int, *, topic: str = "unit.q", is_damaged: bool = False) -> int:
        """Write a chunk; where it stands."""
        key = ChunkKey(topic, 0, epoch, number).encode()
        value = encode_chunk(key, 8, bytes([bits]))
        value = value[:-1] if is_damaged else value
        return self.brokers.append("unit.q.progress", 0, key, value, []).offset() or 0

    def delete(self, epoch: int, number: int) -> None:
        """Delete it."""
        self.brokers.append("unit.q.progress", 0, ChunkKey("unit.q", 0, epoch, number).encode(), None, [])

    def read(self, epoch: int, offset: int) -> FoundChunks:
        """What a new owner finds."""
        consumer = cast(Any, SimConsumer(self.brokers, cast(Any, None)))
        place = TopicPartition("unit.q", 0)
        found = read_chunks(consumer, "unit.q.progress", place, SpilledAt(epoch, offset), lambda: False)
        assert found is not None
        return found


def test_only_chunks_of_the_epoch_that_the_commit_names_count() -> None:
    """An owner that was cut off writes after the present one; a tier of the same number has chunks there as well."""
    progress = PartitionProgress()
    progress.write(2, 0, 0b1)
    first = progress.write(1, 0, 0b11)
    progress.write(1, 1, 0b0)
    progress.write(2, 1, 0b111)
    progress.write(1, 1, 0b101, topic="unit.q.retry.1s")
    progress.brokers.logs["unit.q.progress", 0].compact()
    found = progress.read(1, first)
    assert {number: chunk.bits for number, chunk in found.by_number.items()} == {0: b"\x03", 1: b"\x00"}
    assert sorted(found.keys) == [
        (0, b"unit.q/0/%016x/0" % 1),
        (1, b"unit.q/0/%016x/1" % 1),
        (1, b"unit.q/0/%016x/1" % 2),
    ]


def test_the_last_record_of_a_chunk_counts() -> None:
    """Also where that one deletes it."""
    progress = PartitionProgress()
    for number in (0, 1):
        progress.write(1, number, 0b111)
        progress.write(1, number, 0b1)
    progress.delete(1, 0)
    found = progress.read(1, 0)
    assert {number: chunk.bits for number, chunk in found.by_number.items()} == {1: b"\x01"}
    assert found.unread(0) == [(0, 8)]


def test_a_damaged_chunk_is_reported_and_delivered_again() -> None:
    """Its offsets count as incomplete, those of the others as they were."""
    progress = PartitionProgress()
    progress.write(1, 0, 0b1)
    progress.write(1, 1, 0b1, is_damaged=True)
    progress.write(1, 2, 0b1)
    found = progress.read(1, 0)
    assert found.unread(0) == [(8, 16)]
    assert found.incomplete(0, 24).runs() == [(0, 1), (8, 17)]
