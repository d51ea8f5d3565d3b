"""`LengthHistogram`: how long something took, in fixed buckets that are 16 for each doubling. Pure.

The bucket of a length is the upper 12 bits below the sign of its float32: the exponent, and 4 bits of the fraction. So
the events' columns are counted without any arithmetic, and histograms of all processes add up. All lengths of a bucket
are within 3.2 % of its middle.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Mapping
from struct import pack, unpack
from typing import Final

from ...schemas.own_records.jobs_ended import packed, unpacked

_DROPPED_BITS: Final = 19
_HALF_BITS: Final = 16
_SIGN: Final = 0x8000
ERROR: Final = 1 / 32
"""How far a length may be from the middle of its bucket, as a share of the length."""


def bucket_of(length_s: float) -> int:
    """The bucket of a length; shorter ones than a microsecond, and longer ones than a year, are in the outermost."""
    (half,) = halves_of(packed("f", [length_s]))
    return _bucket(half)


def middle_s(bucket: int) -> float:
    """The length that stands for all of a bucket.

    >>> middle_s(bucket_of(1.0))
    1.03125
    """
    low, high = (unpack("<f", pack("<I", number << _DROPPED_BITS))[0] for number in (bucket, bucket + 1))
    return float(low + high) / 2


def halves_of(column: bytes) -> array[int]:
    """The upper 16 bits of each float32 of a column; `LengthHistogram.add` takes them."""
    words: array[int] = unpacked("H", column)  # type: ignore[assignment]  # it is one, of which slices are in C
    return words[1::2]


def _raw(length_s: float) -> int:
    (bits,) = unpack("<I", pack("<f", length_s))
    return int(bits) >> _DROPPED_BITS


LOWEST: Final = _raw(2.0**-20)
HIGHEST: Final = _raw(2.0**25)


def _bucket(half: int) -> int:
    if half >= _SIGN:  # clocks of two machines differ
        return LOWEST
    return min(max(half >> (_DROPPED_BITS - _HALF_BITS), LOWEST), HIGHEST)


class LengthHistogram:
    """Counts by bucket, and what was added since the last look at them, which is sorted into buckets only then."""

    __slots__ = ("_buckets", "_fresh")

    def __init__(self, counts: Mapping[int, int] | None = None) -> None:
        self._buckets = Counter[int](counts or {})
        self._fresh = Counter[int]()

    def add(self, halves: Iterable[int]) -> None:
        """Count lengths, given as the upper halves of their float32."""
        self._fresh.update(halves)

    def add_times(self, half: int, count: int) -> None:
        """Count a length so many times."""
        self._fresh[half] += count

    def drop(self, half: int) -> None:
        """Take out what was just added under that half."""
        self._fresh.pop(half, None)

    def add_columns(self, buckets: bytes, counts: bytes) -> None:
        """Add what a record has, as `columns` gives it."""
        found = self._buckets
        for bucket, count in zip(unpacked("H", buckets), unpacked("I", counts), strict=True):
            found[bucket] += count

    def buckets(self) -> Mapping[int, int]:
        """{bucket: how many}."""
        if self._fresh:
            for half, count in self._fresh.items():
                self._buckets[_bucket(half)] += count
            self._fresh.clear()
        return self._buckets

    @property
    def count(self) -> int:
        """How many lengths it has."""
        return sum(self.buckets().values())

    def quantile_s(self, share: float) -> float | None:
        """The length below or at which that share of all is, from 0 to 1; None of an empty one.

        >>> histogram = LengthHistogram({bucket_of(0.1): 98, bucket_of(5.0): 2})
        >>> round(histogram.quantile_s(0.5), 2), round(histogram.quantile_s(0.99), 1)
        (0.1, 5.1)
        """
        buckets = self.buckets()
        wanted, passed = share * sum(buckets.values()), 0
        for bucket in sorted(buckets):
            passed += buckets[bucket]
            if passed >= wanted:
                return middle_s(bucket)
        return None

    def columns(self) -> tuple[bytes, bytes]:
        """The buckets that are not empty, and their counts, as `StatisticsPane` has them."""
        buckets = self.buckets()
        numbers = sorted(buckets)
        return packed("H", numbers), packed("I", [buckets[number] for number in numbers])
