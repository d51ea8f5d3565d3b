"""`OffsetSet`: a set of offsets as bitmaps, one for each chunk of 65,536 offsets that holds any.

A chunk takes 8 KiB however many of its offsets are in the set, so a million neighbours take 130 KB. It remembers its
runs until it changes. Pure.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Final

from ...topology.wire.commit_metadata import OffsetRange, joined

SHIFT: Final = 16
"""Offsets with the same bits above these are of one chunk: on the wire as well, so the number is fixed."""
_RUN: Final = re.compile("1+")


def chunk_of(offset: int) -> int:
    """The number of the chunk that an offset is of."""
    return offset >> SHIFT


def first_of(number: int) -> int:
    """The first offset of a chunk."""
    return number << SHIFT


def chunk_size() -> int:
    """How many offsets a chunk has."""
    return 1 << SHIFT


class _Chunk:
    """One chunk of a set; bit `n % 8` of byte `n // 8` is the n-th offset's.

    `bits` are not its own where all are set: such chunks share them until they change.
    """

    __slots__ = ("_run_count", "_runs", "bits", "count", "first")

    def __init__(self, number: int, bits: bytes | bytearray) -> None:
        self.first = first_of(number)
        self._replace(bits)

    def _replace(self, bits: bytes | bytearray) -> None:
        self.bits = bits
        self.count = self._number.bit_count()
        self._runs: list[OffsetRange] | None = None
        self._run_count: int | None = None

    @property
    def _number(self) -> int:
        return int.from_bytes(self.bits, "little")

    def has(self, offset: int) -> bool:
        at = offset - self.first
        return bool(self.bits[at >> 3] & 1 << (at & 7))

    def remove(self, offset: int) -> bool:
        """Take an offset out; False where it is not in."""
        at = offset - self.first
        bits, bit = self.bits, 1 << (at & 7)
        if not bits[at >> 3] & bit:
            return False
        if not isinstance(bits, bytearray):
            self.bits = bits = bytearray(bits)
        bits[at >> 3] ^= bit
        self.count -= 1
        self._runs = self._run_count = None
        return True

    def add(self, offsets: Sequence[int]) -> None:
        """Put ascending offsets of this chunk in."""
        low, high = offsets[0], offsets[-1]
        digits = bytearray(b"0") * (high - low + 1)
        for offset in offsets:
            digits[high - offset] = 0x31  # "1": a number that is read at once is faster than setting bit by bit
        self._replace(_to_bits(self._number | int(digits, 2) << (low - self.first)))

    def fill(self, start: int, end: int) -> None:
        """Put the offsets from `start` up to `end` in, as far as they are of this chunk."""
        self._replace(_to_bits(self._number | self._mask(start, end)))

    def clear(self, start: int, end: int) -> int:
        """Take the offsets from `start` up to `end` out, and return how many were in."""
        before = self.count
        self._replace(_to_bits(self._number & ~self._mask(start, end)))
        return before - self.count

    def _mask(self, start: int, end: int) -> int:
        low, high = max(0, start - self.first), min(chunk_size(), end - self.first)
        return ((1 << (high - low)) - 1) << low

    @property
    def lowest(self) -> int:
        """The first offset that is in; there is one."""
        at = len(self.bits) - len(self.bits.lstrip(b"\0"))
        byte = self.bits[at]
        return self.first + at * 8 + (byte & -byte).bit_length() - 1

    @property
    def runs(self) -> list[OffsetRange]:
        """The offsets of the set as runs; do not change the list."""
        if self._runs is None:
            first, text = self.first, bin(self._number)[:1:-1]
            self._runs = [(first + found.start(), first + found.end()) for found in _RUN.finditer(text)]
        return self._runs

    @property
    def run_count(self) -> int:
        """How many runs these are, which is counted much faster than they are made."""
        if self._run_count is None:
            self._run_count = (self._number & ~(self._number << 1)).bit_count()
        return self._run_count

    def touches(self, before: _Chunk | None) -> bool:
        """Whether its first run goes on with the last one of the chunk before."""
        is_next = before is not None and before.first + chunk_size() == self.first
        return is_next and before is not None and bool(self.bits[0] & 1 and before.bits[-1] & 0x80)


class OffsetSet:
    """The set; offsets are not negative.

    Attributes:
        count: how many offsets are in.
    """

    __slots__ = ("_chunks", "count")

    def __init__(self, runs: Iterable[OffsetRange] = ()) -> None:
        self._chunks: dict[int, _Chunk] = {}
        self.count = 0
        for start, end in runs:
            self.fill(start, end)

    def __contains__(self, offset: int) -> bool:
        chunk = self._chunks.get(offset >> SHIFT)
        return chunk is not None and chunk.has(offset)

    @property
    def lowest(self) -> int | None:
        """The lowest offset; None if the set is empty."""
        for chunk in self._chunks.values():
            return chunk.lowest
        return None

    def add(self, offsets: Sequence[int]) -> None:
        """Put ascending offsets in."""
        start = 0
        while start < len(offsets):
            number = chunk_of(offsets[start])
            end = bisect_left(offsets, first_of(number + 1), start)
            chunk = self._chunk(number)
            self.count -= chunk.count
            chunk.add(offsets[start:end])
            self.count += chunk.count
            start = end

    def fill(self, start: int, end: int) -> None:
        """Put all offsets from `start` up to, not including, `end` in."""
        for number in range(chunk_of(start), chunk_of(end - 1) + 1) if start < end else ():
            if start <= first_of(number) and first_of(number + 1) <= end:
                self.set_chunk(number, full_bits())
            else:
                chunk = self._chunk(number)
                self.count -= chunk.count
                chunk.fill(start, end)
                self.count += chunk.count

    def remove(self, offset: int) -> None:
        """Take an offset out.

        Raises:
            KeyError: it is not in.
        """
        chunk = self._chunks[offset >> SHIFT]
        if not chunk.remove(offset):
            raise KeyError(offset)
        self.count -= 1
        if not chunk.count:
            del self._chunks[offset >> SHIFT]

    def clear(self, start: int, end: int) -> int:
        """Take all offsets from `start` up to, not including, `end` out, and return how many were in."""
        before = self.count
        for number in self._present(start, end):
            self.count -= self._chunks[number].clear(start, end)
            if not self._chunks[number].count:
                del self._chunks[number]
        return before - self.count

    def _present(self, start: int, end: int) -> list[int]:
        """The chunks that hold any offset between these two."""
        if start >= end or not self._chunks:
            return []
        low, high = chunk_of(start), chunk_of(end - 1)
        if high - low < len(self._chunks):
            return [number for number in range(low, high + 1) if number in self._chunks]
        return [number for number in self._chunks if low <= number <= high]

    def keep(self, start: int, end: int) -> None:
        """Take all out but those from `start` up to, not including, `end`."""
        self.clear(0, start)
        if self._chunks:
            self.clear(end, first_of(max(self._chunks) + 1))

    def runs(self) -> list[OffsetRange]:
        """All offsets as ascending runs that do not touch."""
        return list(joined(run for chunk in self._chunks.values() for run in chunk.runs))

    def lowest_between(self, start: int, end: int, limit: int) -> list[int]:
        """The first offsets from `start` up to, not including, `end`."""
        found: list[int] = []
        for number in self._present(start, end):
            for first, after in self._chunks[number].runs:
                found += range(max(first, start), min(after, end, max(first, start) + limit - len(found)))
            if len(found) >= limit:
                break
        return found

    def has_more_runs_than(self, most: int) -> bool:
        """Whether there are more runs than this, counted no further than needed."""
        count, before = 0, None
        for chunk in self._chunks.values():
            count += chunk.run_count - chunk.touches(before)
            if count > most:
                return True
            before = chunk
        return False

    # ---- chunk by chunk, as they are on the wire

    def numbers(self) -> Iterator[int]:
        """The chunks that hold any offset, ascending."""
        return iter(self._chunks)

    def count_in(self, number: int) -> int:
        """How many offsets of a chunk are in."""
        chunk = self._chunks.get(number)
        return 0 if chunk is None else chunk.count

    def bits_of(self, number: int) -> bytes:
        """A chunk as a bitmap."""
        chunk = self._chunks.get(number)
        return bytes(len(full_bits())) if chunk is None else bytes(chunk.bits)

    def set_chunk(self, number: int, bits: bytes) -> None:
        """Replace a chunk by a bitmap."""
        self.count -= self.count_in(number)
        chunk = _Chunk(number, bits)
        self.count += chunk.count
        if chunk.count:
            self._put(number, chunk)
        else:
            self._chunks.pop(number, None)

    def _chunk(self, number: int) -> _Chunk:
        chunk = self._chunks.get(number)
        if chunk is None:
            chunk = _Chunk(number, bytes(len(full_bits())))
            self._put(number, chunk)
        return chunk

    def _put(self, number: int, chunk: _Chunk) -> None:
        is_last = not self._chunks or number > next(reversed(self._chunks))
        self._chunks[number] = chunk
        if not is_last:
            self._chunks = dict(sorted(self._chunks.items()))


def full_bits() -> bytes:
    """The bitmap of a chunk that has all its offsets."""
    return _full_bits(SHIFT)


@cache
def _full_bits(shift: int) -> bytes:
    return b"\xff" * (1 << shift - 3)


def _to_bits(number: int) -> bytearray:
    return bytearray(number.to_bytes(len(full_bits()), "little"))
