"""How many rows a relay publishes: a rate for its note in the table, the sum of each minute for its log."""

from __future__ import annotations

import time
from collections import deque
from typing import Final

BEAT_S: Final = 1.0
LOG_EVERY_S: Final = 60.0
_RATE_OVER: Final = 5


class RelayPace:
    """Counts published rows.

    Attributes:
        published: rows so far.
    """

    def __init__(self) -> None:
        now_s = time.monotonic()
        self.published = 0
        self._marks: deque[tuple[float, int]] = deque([(now_s, 0)], maxlen=_RATE_OVER + 1)
        self._logged = now_s, 0

    def is_beat_due(self) -> bool:
        """Whether a second has passed since the last note."""
        return time.monotonic() - self._marks[-1][0] >= BEAT_S

    def take_rate(self) -> float:
        """Rows a second over the last few seconds, for the note that is due."""
        now_s = time.monotonic()
        then_s, before = self._marks[0]
        self._marks.append((now_s, self.published))
        return (self.published - before) / (now_s - then_s)

    def take_minute(self) -> tuple[int, float] | None:
        """Rows, and the seconds that they took, once a minute; None in between, and where there are none."""
        now_s, (then_s, before) = time.monotonic(), self._logged
        if now_s - then_s < LOG_EVERY_S:
            return None
        self._logged = now_s, self.published
        return (self.published - before, now_s - then_s) if self.published > before else None
