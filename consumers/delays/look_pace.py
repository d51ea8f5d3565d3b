"""`LookPace`: lets looks through the whole calendar take a small part of the poll thread's time."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

REST_PART: Final = 19
"""After a look, the next one waits for so many times what it took: looks take a twentieth of the time at most."""


class LookPace:
    """When the next look may begin; owned by the poll thread."""

    def __init__(self) -> None:
        self._next_at_s = -math.inf

    @property
    def is_rested(self) -> bool:
        """Whether a look may begin by now."""
        return time.monotonic() >= self._next_at_s

    @contextmanager
    def look(self) -> Iterator[None]:
        """Look within this block."""
        began_at_s = time.monotonic()
        yield
        now_s = time.monotonic()
        self._next_at_s = now_s + REST_PART * (now_s - began_at_s)
