"""Twins: the dead letters of one attempt of one job, which are one dead letter to an operator.

A worker that dies between a dead letter's confirmation and its ledger entry leaves the job to the next owner, which
runs the attempt again and writes a second dead letter. Twins have the name by which the ledger knows the attempt, and
lie in one partition.

They are found in two readings, so that memory stays bounded: the first keeps 32 bits for each dead letter and yields
the names that may have come twice, the second keeps the places of those alone.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Final

from ...topology.wire import headers as wire
from ...topology.wire.ledger_names import attempt_name, deduplication_id
from .stored_job import Ref, StoredJob

Digest = bytes

_BITS_PER_DEAD_LETTER: Final = 32
"""With four probes, one dead letter in some 5,000 looks like a repetition and is none; the second reading clears it."""
_FEWEST_BITS: Final = 8_192
_PROBES: Final = struct.Struct("<4I")


def attempt_digest(record: StoredJob) -> Digest | None:
    """Identify the attempt that died; None where the dead letter does not name it, so that it has no twin."""
    origin = record.headers.get(wire.ORIGIN)
    if not origin:
        return None
    name = attempt_name(deduplication_id(record.headers), origin, record.headers.get(wire.ATTEMPT, b"1"))
    return blake2b(f"{record.ref.partition}:{name}".encode("utf-8", "surrogatepass"), digest_size=16).digest()


class Twins:
    """Which dead letters are of one attempt; only dead letters that have a twin are held."""

    def __init__(self, groups: Iterable[Sequence[Ref]] = ()) -> None:
        self._group_of = {ref: tuple(group) for group in groups for ref in group}

    def of(self, ref: Ref) -> tuple[Ref, ...]:
        """All dead letters of the same attempt, in their order, the given one included."""
        return self._group_of.get(ref, (ref,))

    def is_first(self, ref: Ref) -> bool:
        """Whether the dead letter stands for its twins."""
        return self.of(ref)[0] == ref


class PossibleTwins:
    """The attempts that may have several dead letters, noted in a first reading.

    Attributes:
        digests: all that came more than once, and a few that did not.
        partitions: where those lie.
    """

    def __init__(self, dead_letters: int) -> None:
        """Make room.

        Args:
            dead_letters: how many there are at the most.
        """
        self.digests: set[Digest] = set()
        self.partitions: set[int] = set()
        self._size = max(dead_letters * _BITS_PER_DEAD_LETTER, _FEWEST_BITS)
        self._bits = bytearray((self._size + 7) // 8)

    def note(self, dead_letter: StoredJob) -> None:
        """Take a dead letter in."""
        digest = attempt_digest(dead_letter)
        if digest is not None and self._was_set(digest):
            self.digests.add(digest)
            self.partitions.add(dead_letter.ref.partition)

    def _was_set(self, digest: Digest) -> bool:
        was_set = True
        for probe in _PROBES.unpack(digest):
            place, bit = (probe % self._size) >> 3, 1 << (probe % self._size & 7)
            was_set = was_set and bool(self._bits[place] & bit)
            self._bits[place] |= bit
        return was_set

    def twins(self, dead_letters: Iterable[StoredJob]) -> Twins:
        """Find the twins in a second reading of the same dead letters, each partition in its order."""
        groups: dict[Digest, list[Ref]] = {}
        for dead_letter in dead_letters:
            digest = attempt_digest(dead_letter)
            if digest in self.digests and digest is not None:
                groups.setdefault(digest, []).append(dead_letter.ref)
        return Twins(group for group in groups.values() if len(group) > 1)
