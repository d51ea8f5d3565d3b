"""`Histogram`: counts values by buckets in a plain array. `Bins`: many values, sorted into buckets by any thread."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import add
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class HistogramValue:
    """A histogram at a moment.

    Attributes:
        counts: of each bucket, of the last one the values beyond all bounds; not cumulative.
        total: the sum of all values.
    """

    counts: tuple[int, ...]
    total: float

    def __add__(self, other: HistogramValue) -> HistogramValue:
        """Count the values of both, which have the same buckets."""
        return HistogramValue(tuple(map(add, self.counts, other.counts)), self.total + other.total)


class Bins(NamedTuple):
    """How some values fall into buckets, for a histogram that another thread writes.

    Attributes:
        first: the number of the lowest bucket that has any.
        counts: of it and those above, as far as they have any.
        total: the sum of all values.
    """

    first: int
    counts: Sequence[int]
    total: float


def bins_of(values: Iterable[float], bounds: Sequence[float]) -> Bins:
    """Sort values into buckets, as a `Histogram` does that has these bounds; there is at least one value.

    >>> bins_of([7.0, 0.5, 3.0], (1.0, 5.0))
    Bins(first=0, counts=[1, 1, 1], total=10.5)
    """
    ordered = sorted(max(0.0, value) for value in values)
    first, last = bisect_left(bounds, ordered[0]), bisect_left(bounds, ordered[-1])
    ends = [0, *(bisect_right(ordered, bound) for bound in bounds[first:last]), len(ordered)]
    return Bins(first, [end - begin for begin, end in pairwise(ends)], sum(ordered))


def bins_between(least: float, most: float, count: int, total: float, bounds: Sequence[float]) -> Bins | None:
    """Count values without a look at each, where all of them lie in one bucket; None where they may not.

    Args:
        least: no value is smaller; `most`: none is larger.

    >>> bins_between(1.5, 4.0, 3, 8.0, (1.0, 5.0))
    Bins(first=1, counts=(3,), total=8.0)
    """
    first = bisect_left(bounds, least)
    is_one = least >= 0.0 and (first == len(bounds) or most <= bounds[first])
    return Bins(first, (count,), total) if is_one else None


class Histogram:
    """Written by one thread at a time, read by any. A value on a bound is counted below it, as in Prometheus.

    No value is negative: those are counted as 0, such as a wait that two clocks have measured.

    >>> histogram = Histogram((1.0, 5.0))
    >>> histogram.note(1.0)
    >>> histogram.add(bins_of([0.5, 3.0, 7.0], (1.0, 5.0)))
    >>> histogram.value()
    HistogramValue(counts=(2, 1, 1), total=11.5)
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(bounds) + 1)
        self._total = 0.0

    def note(self, value: float) -> None:
        """Count one value."""
        value = max(0.0, value)
        self._counts[bisect_left(self._bounds, value)] += 1
        self._total += value

    def add(self, bins: Bins) -> None:
        """Count values that were sorted into the same buckets."""
        for at, count in enumerate(bins.counts, bins.first):
            self._counts[at] += count
        self._total += bins.total

    def value(self) -> HistogramValue:
        """The counts of this moment."""
        return HistogramValue(tuple(self._counts), self._total)
