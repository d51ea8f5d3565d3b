"""`LanesAside`: lanes that wait at a gate with no record in memory; 8 bytes each."""

from __future__ import annotations

import heapq
import math
from array import array
from collections import deque
from collections.abc import Callable
from itertools import count

from .gate import Why

Bucket = tuple[Why, int | None]
"""Why lanes wait, and the second in which the gates are asked again; None where only a release ends the wait."""


class LanesAside:
    """Lanes, by their hashes, in the order in which they left the memory; guarded by the lock of `Waiting`.

    A lane is *released* with its reason, or when its time comes. `pop` gives released lanes, some at a time.
    """

    def __init__(self) -> None:
        self._waiting: dict[Bucket, array[int]] = {}
        self._timed: list[tuple[int, int, Bucket]] = []
        self._numbers = count()
        self._released: deque[array[int]] = deque()
        self._taken = 0

    def __len__(self) -> int:
        """How many lanes there are, released ones included."""
        return sum(map(len, self._waiting.values())) + self.released

    @property
    def released(self) -> int:
        """How many lanes `pop` has to give."""
        return sum(map(len, self._released)) - self._taken

    @property
    def has_released(self) -> bool:
        """Whether there are any."""
        return bool(self._released)

    def add(self, why: Why, until_at_s: float | None, lane_hash: int) -> None:
        """Add a lane."""
        bucket = why, None if until_at_s is None else math.ceil(until_at_s)
        lanes = self._waiting.get(bucket)
        if lanes is None:
            lanes = self._waiting[bucket] = array("q")
            if bucket[1] is not None:
                heapq.heappush(self._timed, (bucket[1], next(self._numbers), bucket))
        lanes.append(lane_hash)

    def add_released(self, lane_hashes: array[int]) -> None:
        """Add released lanes."""
        if lane_hashes:
            self._released.append(lane_hashes)

    def release(self, why: Why) -> None:
        """Release all lanes that wait for this reason."""
        for bucket in [bucket for bucket in self._waiting if bucket[0] == why]:
            self._released.append(self._waiting.pop(bucket))

    def release_some(self, why: Why, limit: int) -> int:
        """Release the first lanes that wait for this reason and for no time; returns how many."""
        lanes = self._waiting.get((why, None))
        if lanes is None or limit <= 0:
            return 0
        released = lanes[:limit]
        self._released.append(released)
        del lanes[:limit]
        if not lanes:
            del self._waiting[why, None]
        return len(released)

    def count_of(self, why: Why) -> int:
        """How many lanes wait for this reason and for no time."""
        return len(self._waiting.get((why, None), ()))

    @property
    def next_at_s(self) -> float | None:
        """The epoch time at which `release_due` has something to do; None while nothing waits for a time."""
        return self._timed[0][0] if self._timed else None

    def release_due(self, now_s: float) -> None:
        """Release the lanes whose time has come."""
        while self._timed and self._timed[0][0] <= now_s:
            _, _, bucket = heapq.heappop(self._timed)
            if bucket in self._waiting:  # else it was released before
                self._released.append(self._waiting.pop(bucket))

    def pop(self, limit: int) -> list[int]:
        """Take released lanes, the first ones first."""
        taken: list[int] = []
        while self._released and len(taken) < limit:
            first = self._released[0]
            portion = first[self._taken : self._taken + limit - len(taken)]
            taken += portion
            self._taken += len(portion)
            if self._taken == len(first):
                self._released.popleft()
                self._taken = 0
        return taken

    def discard(self, is_gone: Callable[[int], bool]) -> None:
        """Forget the lanes for which this is true."""
        released = self.pop(self.released)
        for bucket, lanes in list(self._waiting.items()):
            self._waiting[bucket] = array("q", (lane for lane in lanes if not is_gone(lane)))
            if not self._waiting[bucket]:
                del self._waiting[bucket]
        kept = array("q", (lane for lane in released if not is_gone(lane)))
        if kept:
            self._released.append(kept)

    def clear(self) -> None:
        """Forget all."""
        self._waiting.clear()
        self._timed.clear()
        self._released.clear()
        self._taken = 0

    def counts(self) -> dict[Why, int]:
        """{reason: lanes that wait for it}, without released ones."""
        counts: dict[Why, int] = {}
        for (why, _), lanes in self._waiting.items():
            counts[why] = counts.get(why, 0) + len(lanes)
        return counts

    def why_of(self, lane_hash: int) -> tuple[Why, float | None] | None:
        """Why a lane waits, and until when; None where it does not. It looks at all lanes."""
        return next((bucket for bucket, lanes in self._waiting.items() if lane_hash in lanes), None)
