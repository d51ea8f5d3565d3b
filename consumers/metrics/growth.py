"""`Growth`: how fast the unfinished records of a queue increase."""

from __future__ import annotations

from collections import deque
from typing import Final

GROWTH_OVER_S: Final = 60.0


class Growth:
    """How fast the unfinished records increase, by the looks of the last minute. Each look may be by another thread.

    >>> growth = Growth()
    >>> growth.look(0.0, 100, (0, 1)), growth.look(10.0, 150, (0, 1)), growth.look(11.0, 20, (0,))
    (None, 5.0, None)
    """

    def __init__(self) -> None:
        self._looks: deque[tuple[float, int]] = deque()
        self._partitions: tuple[int, ...] = ()

    def look(self, now_s: float, unfinished: int, partitions: tuple[int, ...]) -> float | None:
        """Take the number of now; returns records a second, None where there is nothing to compare it with."""
        if partitions != self._partitions:  # the number has jumped with them
            self._partitions, self._looks = partitions, deque()
        looks = self._looks
        looks.append((now_s, unfinished))
        while len(looks) > 2 and now_s - looks[1][0] >= GROWTH_OVER_S:
            looks.popleft()
        before_s, before = looks[0]
        return (unfinished - before) / (now_s - before_s) if now_s > before_s else None
