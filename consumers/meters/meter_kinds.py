"""`SlidingWindow`, `TokenBucket` and `Permits`: the meters of a limit's scopes. Pure: each call is given the time."""

from __future__ import annotations

import math
from collections import deque
from typing import Final

from ...topology.declaration.limits import Concurrency, Limit, Rate
from .level import Level
from .meter import Meter, margin_s

SLICES: Final = 100
"""A window is counted in so many slices; what began in a slice counts until the window after its end is over."""
ROUNDING: Final = 1e-9
"""By so much of a token numbers may be off."""


class SlidingWindow(Meter):
    """At most `count` in any window of `per_s`, wherever it begins; it uses some 96 to 99 % of that.

    >>> window = SlidingWindow(2, per_s=10.0)
    >>> window.acquire(2, now_s=0.0)
    >>> round(window.wait_s(1, now_s=0.0), 3), window.wait_s(1, now_s=10.2)
    (10.13, 0.0)
    """

    __slots__ = ("_slice_ends_s", "_slice_s", "_slices", "_span_s", "_used", "count", "per_s")

    def __init__(self, count: int, *, per_s: float) -> None:
        self._set(count, per_s)
        self._slices: deque[list[float]] = deque()
        """[begin of the slice, what it has used], the oldest first."""
        self._used = 0

    def _set(self, count: int, per_s: float) -> None:
        self.count, self.per_s = count, per_s
        self._slice_s = per_s / SLICES
        self._slice_ends_s = -math.inf
        self._span_s = self._slice_s + per_s + margin_s(per_s)

    def change(self, limit: Limit, now_s: float) -> None:
        """A longer window holds what the shorter one remembers."""
        assert isinstance(limit, Rate)
        former_slice_s = self._slice_s
        self._set(limit.count, limit.per.total_seconds())
        later_s = max(0.0, former_slice_s - self._slice_s)  # to end no sooner than its coarser slice did
        for entry in self._slices:
            entry[0] += later_s

    def wait_s(self, cost: int, now_s: float) -> float:
        self._forget(now_s)
        excess = self._used + cost - self.count
        if excess <= 0:
            return 0.0
        for begin_s, used in self._slices:
            excess -= int(used)
            if excess <= 0:
                return begin_s + self._span_s - now_s
        return self._span_s

    def room(self, now_s: float) -> int:
        self._forget(now_s)
        return self.count - self._used

    def try_acquire(self, cost: int, now_s: float) -> bool:
        """Within the newest slice there is nothing to forget but what would give room."""
        if now_s < self._slice_ends_s and self._used + cost <= self.count:
            self._slices[-1][1] += cost
            self._used += cost
            return True
        self._forget(now_s)
        if self._used + cost > self.count:
            return False
        self.acquire(cost, now_s)
        return True

    def acquire(self, cost: int, now_s: float) -> None:
        begin_s = now_s // self._slice_s * self._slice_s
        if self._slices and self._slices[-1][0] >= begin_s:
            self._slices[-1][1] += cost
        else:
            self._slices.append([begin_s, cost])
            self._slice_ends_s = begin_s + self._slice_s
        self._used += cost

    def give_back(self, cost: int, now_s: float) -> None:
        for entry in reversed(self._slices):
            given = min(cost, int(entry[1]))
            entry[1] -= given
            self._used -= given
            cost -= given
            if not cost:
                break

    def is_idle(self, now_s: float) -> bool:
        self._forget(now_s)
        return not self._used

    def level(self, now_s: float) -> Level:
        """A slice was used by its end, or by now."""
        self._forget(now_s)
        used = ((self._end_s(begin_s, now_s), int(used)) for begin_s, used in self._slices if used)
        return Level(at_s=now_s, used=tuple(used))

    def _end_s(self, begin_s: float, now_s: float) -> float:
        """When a slice was used at the latest; one that begins later is that of a reservation that has not ended."""
        end_s = begin_s + self._slice_s
        return end_s if begin_s > now_s else min(now_s, end_s)

    def restore(self, level: Level) -> None:
        if level.tokens is not None:  # it was a bucket
            self.fill(level.at_s)
            return
        used = level.used + (((level.reserved_until_at_s, level.reserved),) if level.reserved else ())
        self._slices.extend([at_s - self._slice_s, amount] for at_s, amount in used)  # to end a window after `at_s`
        self._used += sum(amount for _, amount in used)

    def _forget(self, now_s: float) -> None:
        while self._slices and self._slices[0][0] + self._span_s <= now_s:
            self._used -= int(self._slices.popleft()[1])


class TokenBucket(Meter):
    """At most `burst + count * t / per_s` in any time `t`: `burst` at once, and then as fast as tokens are added.

    >>> bucket = TokenBucket(60, per_s=60.0, burst=3)
    >>> bucket.acquire(2, now_s=0.0)
    >>> round(bucket.wait_s(1, now_s=0.0), 3), round(bucket.wait_s(2, now_s=0.0), 3), bucket.wait_s(1, now_s=5.0)
    (0.03, 1.03, 0.0)
    """

    __slots__ = ("_as_of_s", "_capacity", "_level", "_per_token_s", "burst", "count")

    def __init__(self, count: int, *, per_s: float, burst: int) -> None:
        self._set(count, per_s, burst)
        self._level, self._as_of_s = self._capacity, -math.inf

    def _set(self, count: int, per_s: float, burst: int) -> None:
        self.count, self.burst = count, burst
        self._per_token_s = per_s / count
        self._capacity = max(1.0, burst - margin_s(per_s) / self._per_token_s)

    def change(self, limit: Limit, now_s: float) -> None:
        """A larger bucket fills up, a smaller one spills, and what is owed is forgiven."""
        assert isinstance(limit, Rate)
        assert limit.burst is not None
        self._fill_up(now_s)
        self._set(limit.count, limit.per.total_seconds(), limit.burst)
        self._level = max(0.0, min(self._level, self._capacity))

    @property
    def most(self) -> int:
        return max(1, int(self._capacity))

    def wait_s(self, cost: int, now_s: float) -> float:
        self._fill_up(now_s)
        lacking = cost - self._level
        return lacking * self._per_token_s if lacking > ROUNDING else 0.0

    def room(self, now_s: float) -> int:
        self._fill_up(now_s)
        return math.floor(self._level + ROUNDING)

    def try_acquire(self, cost: int, now_s: float) -> bool:
        self._fill_up(now_s)
        if cost - self._level > ROUNDING:
            return False
        self._level -= cost
        return True

    def acquire(self, cost: int, now_s: float) -> None:
        self._fill_up(now_s)
        self._level -= cost

    def give_back(self, cost: int, now_s: float) -> None:
        self._level = min(self._capacity, self._level + cost)

    def is_idle(self, now_s: float) -> bool:
        self._fill_up(now_s)
        return self._level >= self._capacity - ROUNDING

    def level(self, now_s: float) -> Level:
        self._fill_up(now_s)
        return Level(at_s=now_s, tokens=self._level)

    def restore(self, level: Level) -> None:
        if level.tokens is None:  # it was a window
            self.acquire(max(0, self.room(level.at_s)), level.at_s)
            return
        # A reservation that is used at its end leaves the bucket emptier than one used at once, which may fill it up.
        gain = (level.reserved_until_at_s - level.at_s) / self._per_token_s if level.reserved else 0.0
        self._level = min(self._capacity, level.tokens + gain) - gain - level.reserved
        self._as_of_s = level.at_s

    def _fill_up(self, now_s: float) -> None:
        if now_s > self._as_of_s:
            added = (now_s - self._as_of_s) / self._per_token_s
            self._level, self._as_of_s = min(self._capacity, self._level + added), now_s


class Permits(Meter):
    """At most `count` that run at once."""

    __slots__ = ("_used", "count")

    def __init__(self, count: int) -> None:
        self.count, self._used = count, 0

    def change(self, limit: Limit, now_s: float) -> None:
        """Jobs that run keep their permits."""
        self.count = limit.count

    def wait_s(self, cost: int, now_s: float) -> float:
        return 0.0 if self._used + cost <= self.count else math.inf

    def room(self, now_s: float) -> int:
        return self.count - self._used

    def try_acquire(self, cost: int, now_s: float) -> bool:
        if self._used + cost > self.count:
            return False
        self._used += cost
        return True

    def acquire(self, cost: int, now_s: float) -> None:
        self._used += cost

    def give_back(self, cost: int, now_s: float) -> None:
        self._used -= cost

    @property
    def has_permits(self) -> bool:
        return True

    def end(self, cost: int) -> bool:
        """Free the permit."""
        self._used -= cost
        return True

    def clipped(self, cost: int) -> int:
        """Each job has one permit."""
        return 1

    def fill(self, now_s: float) -> None:
        """Keep the permits: the runs of a killed owner are over, and late runs of one that lives are not counted."""
        return

    def is_idle(self, now_s: float) -> bool:
        return not self._used


def lasts_s(limit: Limit) -> float:
    """How long a use of a rate counts, with some time added for messages on their way."""
    if isinstance(limit, Concurrency):
        return 0.0
    per_s = limit.per.total_seconds()
    return 1.1 * (per_s if limit.burst is None else per_s * max(1.0, limit.burst / limit.count)) + 1.0


def make_meter(limit: Limit) -> Meter:
    """A meter that counts for this limit."""
    if isinstance(limit, Concurrency):
        return Permits(limit.count)
    per_s = limit.per.total_seconds()
    if limit.burst is not None:
        return TokenBucket(limit.count, per_s=per_s, burst=limit.burst)
    return SlidingWindow(limit.count, per_s=per_s)
