"""`CommitMetadata`: how far one partition has come, exactly, in the form in which it outlives its owner.

It stands in the metadata of the group's committed offset, as text:

    stoker1:<base64 of crc32 + body>

The body is a row of unsigned varints (7 bits each, low ones first): committed offset, position, flags (1 open, 2
spilled), deaths, window_end, the number of `crashes` and for each of them its offset beyond the committed one and its
count; then either the lengths of runs, incomplete and complete by turns from the committed offset on, or, if spilled,
the epoch of the chunks on the progress topic that hold what is incomplete, the offset of the first of them there
(`partitions/chunk_records.py`), a zero, and how many offsets are incomplete. Pure.
"""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from heapq import nlargest
from typing import Final, NamedTuple, Self

PREFIX: Final = "stoker1:"
MAX_CHARACTERS: Final = 3_900
"""Brokers take metadata of less than 4,096 bytes, unless their `offset.metadata.max.bytes` sets another limit."""
MAX_CRASHES: Final = 100
"""More crashed jobs than these are not remembered, those with the fewest crashes first."""
_OPEN: Final = 1
_SPILLED: Final = 2
_COUNTED: Final = 2
"""Numbers behind those of a reference: the zero, and the count."""
_CHECKSUM_BYTES: Final = 4
_LONGEST_VARINT_BITS: Final = 63

OffsetRange = tuple[int, int]
"""Offsets from the first up to, not including, the second."""


class SpilledAt(NamedTuple):
    """Where on the progress topic the incomplete offsets of a partition are.

    Attributes:
        epoch: which of its chunks count: those that one assignment has written, and no other ever writes.
        offset: none of those that are the last ones of their number lies before it.
    """

    epoch: int
    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitMetadata:
    """The progress of one partition at one moment.

    Attributes:
        committed_offset: all below it is complete.
        position: the next offset to be delivered; from there on nothing is complete.
        incomplete: the offsets between these two that are not complete, as ascending runs that do not touch. All
            others in between are complete, or do not exist. Empty where the runs were spilled.
        is_open: its owner is at work. One who finds it open knows that the owner before died, or was cut off.
        deaths: how many owners ended without closing it since it last came beyond `window_end`.
        window_end: offsets below it were possibly running when the last owner died; 0 if none did.
        crashes: {incomplete offset: how often a process died while it ran}.
        spilled_at: where on the progress topic they are; None where they are here.
        spilled_count: how many offsets are incomplete, where they were spilled; None where the writer did not count.
    """

    committed_offset: int
    position: int
    incomplete: tuple[OffsetRange, ...] = ()
    is_open: bool = True
    deaths: int = 0
    window_end: int = 0
    crashes: Mapping[int, int] = field(default_factory=dict)
    spilled_at: SpilledAt | None = None
    spilled_count: int | None = None

    @property
    def incomplete_count(self) -> int | None:
        """How many offsets below the position are incomplete; None where that is not known."""
        return self.spilled_count if self.spilled_at else sum(end - start for start, end in self.incomplete)

    def encode(self, max_characters: int = MAX_CHARACTERS) -> str | None:
        """The state as commit metadata, or None if that would be too large."""
        if len(self.incomplete) * 2 > max_characters:  # at least a byte for each run's length, and one for the next's
            return None
        text = PREFIX + b64encode(self.to_bytes()).decode("ascii")
        return text if len(text) <= max_characters else None

    def to_bytes(self) -> bytes:
        """The state as bytes, checksum and body."""
        numbers = [
            self.committed_offset,
            self.position,
            self._flags(),
            self.deaths,
            self.window_end,
            *self._crash_numbers(),
        ]
        numbers += self._run_lengths() if self.spilled_at is None else self._reference(self.spilled_at)
        body = _to_varints(numbers)
        return binascii.crc32(body).to_bytes(_CHECKSUM_BYTES, "big") + body

    def _reference(self, spilled_at: SpilledAt) -> Iterator[int]:
        yield from spilled_at
        if self.spilled_count is not None:
            yield from (
                0,
                self.spilled_count,
            )  # read as lengths of runs, they contain no incomplete one

    def without_runs(self) -> CommitMetadata:
        """A copy with nothing beyond the committed offset marked as complete: small, and true in any case."""
        runs = ((self.committed_offset, self.position),) if self.position > self.committed_offset else ()
        return replace(self, incomplete=runs, spilled_at=None, spilled_count=None)

    def referring(self, spilled_at: SpilledAt, count: int | None = None) -> CommitMetadata:
        """A copy that refers to the progress topic for its incomplete runs, which have so many offsets."""
        return replace(self, incomplete=(), spilled_at=spilled_at, spilled_count=count)

    def _flags(self) -> int:
        return (_OPEN if self.is_open else 0) | (0 if self.spilled_at is None else _SPILLED)

    def _crash_numbers(self) -> Iterator[int]:
        beyond = [(offset, count) for offset, count in self.crashes.items() if offset >= self.committed_offset]
        kept = nlargest(MAX_CRASHES, beyond, key=lambda item: item[1])
        yield len(kept)
        for offset, count in sorted(kept):
            yield offset - self.committed_offset
            yield count

    def _run_lengths(self) -> Iterator[int]:
        at = self.committed_offset
        if self.incomplete and self.incomplete[0][0] > at:
            yield 0  # the row begins with an incomplete run
        for start, end in self.incomplete:
            if start > at:
                yield start - at
            yield end - start
            at = end

    @classmethod
    def decode(cls, metadata: str | None, committed_offset: int) -> Self | None:
        """Read a commit's metadata; None where it is foreign, damaged, of another version, or of another offset."""
        state = cls._from_text(metadata)
        return state if state is not None and state.committed_offset == committed_offset else None

    @classmethod
    def fault(cls, metadata: str | None, committed_offset: int) -> str:
        """Why `decode` makes nothing of a commit's metadata, for people."""
        if not metadata:
            return "is empty: no worker has committed it, but somebody who set the offset"
        if not metadata.startswith(PREFIX):
            return "is none of a worker of this version"
        state = cls._from_text(metadata)
        if state is None:
            return "is damaged"
        return f"is that of offset {state.committed_offset}: somebody has set the offset to {committed_offset}"

    @classmethod
    def _from_text(cls, metadata: str | None) -> Self | None:
        if not metadata or not metadata.startswith(PREFIX):
            return None
        try:
            return cls.from_bytes(b64decode(metadata[len(PREFIX) :], validate=True))
        except (binascii.Error, ValueError):
            return None

    @classmethod
    def from_bytes(cls, value: bytes) -> Self | None:
        """Read what `to_bytes` has made; None where it is damaged."""
        body = value[_CHECKSUM_BYTES:]
        if binascii.crc32(body).to_bytes(_CHECKSUM_BYTES, "big") != value[:_CHECKSUM_BYTES]:
            return None
        try:
            return cls._from_numbers(deque(_from_varints(body)))
        except (IndexError, ValueError):
            return None

    @classmethod
    def _from_numbers(cls, numbers: deque[int]) -> Self:
        """Read the body's numbers.

        Raises:
            IndexError: there are too few.
            ValueError: they contradict one another.
        """
        committed, position, flags, deaths, window_end, crash_count = (numbers.popleft() for _ in range(6))
        crashes = {committed + numbers.popleft(): numbers.popleft() for _ in range(crash_count)}
        spilled_at = SpilledAt(numbers.popleft(), numbers.popleft()) if flags & _SPILLED else None
        spilled_count = numbers[1] if spilled_at is not None and len(numbers) == _COUNTED and not numbers[0] else None
        incomplete = tuple(_runs(committed, numbers))
        if position < max([committed, *(end for _, end in incomplete[-1:])]):
            raise ValueError("its runs pass its position")
        return cls(
            committed_offset=committed,
            position=position,
            incomplete=incomplete,
            is_open=bool(flags & _OPEN),
            deaths=deaths,
            window_end=window_end,
            crashes=crashes,
            spilled_at=spilled_at,
            spilled_count=spilled_count,
        )


def joined(runs: Iterable[OffsetRange]) -> Iterator[OffsetRange]:
    """Join ascending runs that touch or overlap.

    >>> list(joined([(1, 2), (2, 5), (7, 8)]))
    [(1, 5), (7, 8)]
    """
    present: OffsetRange | None = None
    for start, end in runs:
        if present is not None and start <= present[1]:
            present = (present[0], max(present[1], end))
            continue
        if present is not None:
            yield present
        present = (start, end)
    if present is not None:
        yield present


def _runs(first: int, lengths: Iterable[int]) -> Iterator[OffsetRange]:
    at = first
    for number, length in enumerate(lengths):
        if number % 2 == 0 and length:
            yield at, at + length
        at += length


def _to_varints(numbers: Iterable[int]) -> bytes:
    out = bytearray()
    for number in numbers:
        left = number
        while left > 0x7F:
            out.append(left & 0x7F | 0x80)
            left >>= 7
        out.append(left)
    return bytes(out)


def _from_varints(body: bytes) -> Iterator[int]:
    number, shift = 0, 0
    for byte in body:
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            yield number
            number, shift = 0, 0
        elif shift > _LONGEST_VARINT_BITS:
            raise ValueError("a number is too long")
    if shift:
        raise ValueError("the last number is cut off")
