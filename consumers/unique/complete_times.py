"""`CompleteTimes`: up to which arrival all jobs of a partition's main topic are complete. Pure."""

from __future__ import annotations

from collections import deque
from typing import Final

MOST_MARKS: Final = 4_096


class CompleteTimes:
    """Remembers now and then how far the topic was read, and when what was read there had arrived."""

    def __init__(self) -> None:
        self._read = (0, 0)
        self._marks: deque[tuple[int, int]] = deque()
        self._complete_ms = 0

    def note_read(self, next_offset: int, at_ms: int) -> None:
        """Note that all records which arrived before a time have been read, and lie below an offset."""
        if at_ms > self._read[1]:
            self._read = next_offset, at_ms

    def up_to(self, committable: int | None) -> int:
        """The time before which all records arrived that are complete, where all below an offset are."""
        if (not self._marks or self._marks[-1] != self._read) and len(self._marks) < MOST_MARKS:
            self._marks.append(self._read)
        while committable is not None and self._marks and self._marks[0][0] <= committable:
            self._complete_ms = max(self._complete_ms, self._marks.popleft()[1])
        return self._complete_ms
