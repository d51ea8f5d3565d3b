"""`Histogram`: counts values by buckets in a plain array, many at a time at little cost."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from operator import add


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


class Histogram:
    """Written by one thread at a time, read by any. A value on a bound is counted below it, as in Prometheus.

    No value is negative: those are counted as 0, such as a wait that two clocks have measured.

    >>> histogram = Histogram((1.0, 5.0))
    >>> histogram.note(1.0)
    >>> histogram.fold([0.5, 3.0, 7.0])
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

    def fold(self, values: Sequence[float], *, shift: float = 0.0, unit: float = 1.0) -> None:
        """Count each `(value + shift) / unit`.

        Values of one batch lie in few buckets, often in one: so what is above a bound is looked for again and again,
        which costs less than to sort them.
        """
        if not values:
            return
        if min(values) < -shift:
            values = [max(value, -shift) for value in values]
        self._total += (sum(values) + shift * len(values)) / unit
        bounds = [bound * unit - shift for bound in self._bounds]
        last = bisect_left(bounds, max(values))
        for at in range(bisect_left(bounds, min(values)), last):
            above = [value for value in values if value > bounds[at]]
            self._counts[at] += len(values) - len(above)
            values = above
        self._counts[last] += len(values)

    def value(self) -> HistogramValue:
        """The counts of this moment."""
        return HistogramValue(tuple(self._counts), self._total)
