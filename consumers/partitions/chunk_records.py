"""The records of the progress topic: each holds which offsets of one chunk of a partition are incomplete.

    key     <topic>/<partition>/<epoch, 16 hex digits>/<chunk number>
    value   crc32 of the key and the rest (4 bytes), the number of known offsets (4 bytes), a bitmap compressed by zlib

A chunk has 65,536 offsets (`progress/offset_set.py`), of which the first ones were known when it was written; the
bitmap has a bit for each of these, set where it is incomplete. So a record has at most 8.3 KB. The epoch is that of the
assignment which writes it: no other writes records with the same key, so none replaces what another has written. A
record without a value deletes its chunk. Pure.
"""

from __future__ import annotations

import binascii
import struct
import zlib
from typing import Final, NamedTuple

from ..progress.offset_set import chunk_size, full_bits

_HEAD: Final = struct.Struct(">II")
_CHECKSUM_BYTES: Final = 4
_FASTEST: Final = 1


class ChunkKey(NamedTuple):
    """Which chunk a record is of."""

    topic: str
    partition: int
    epoch: int
    number: int

    def encode(self) -> bytes:
        """The record's key."""
        return f"{self.topic}/{self.partition}/{self.epoch:016x}/{self.number}".encode()

    @classmethod
    def decode(cls, key: bytes | str | None) -> ChunkKey | None:
        """Read a record's key; None where it is none of a chunk."""
        try:
            topic, partition, epoch, number = (key.decode() if isinstance(key, bytes) else key or "").split("/")
            return cls(topic, int(partition), int(epoch, 16), int(number))
        except ValueError:
            return None


class KnownChunk(NamedTuple):
    """A chunk as one record of the progress topic describes it.

    Attributes:
        known: so many offsets, from the chunk's first on, were delivered or passed when it was written.
        bits: the bitmap of incomplete offsets, as long as that of a whole chunk; of what was not known, all are.
    """

    known: int
    bits: bytes


def encode_chunk(key: bytes, known: int, bits: bytes) -> bytes:
    """The value of a record, of a chunk's bitmap in which nothing is set beyond what is known."""
    body = _HEAD.pack(0, known)[_CHECKSUM_BYTES:] + zlib.compress(bits[: _bytes_of(known)], _FASTEST)
    return _checksum(key, body) + body


def decode_chunk(key: bytes, value: bytes) -> KnownChunk | None:
    """Read the value of a record; None where it is damaged, or of another key."""
    body = value[_CHECKSUM_BYTES:]
    if len(value) < _HEAD.size or _checksum(key, body) != value[:_CHECKSUM_BYTES]:
        return None
    _, known = _HEAD.unpack_from(value)
    try:
        bits = zlib.decompressobj().decompress(value[_HEAD.size :], len(full_bits()) + 1)
    except zlib.error:
        return None
    if known > chunk_size() or len(bits) != _bytes_of(known):
        return None
    unknown = int.from_bytes(full_bits(), "little") >> known << known
    return KnownChunk(known, (int.from_bytes(bits, "little") | unknown).to_bytes(len(full_bits()), "little"))


def _bytes_of(known: int) -> int:
    return -(-known // 8)


def _checksum(key: bytes, body: bytes) -> bytes:
    return binascii.crc32(body, binascii.crc32(key)).to_bytes(_CHECKSUM_BYTES, "big")
