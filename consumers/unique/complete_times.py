"""`CompleteTimes`: up to which arrival all jobs are complete that were published to a partition number. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Final

from ..sources.source import Source

MOST_MARKS: Final = 4_096


class CompleteTimes:
    """Remembers of each topic that producers publish to up to when all is complete; owned by the poll thread."""

    def __init__(self) -> None:
        self._main = _TopicTimes()
        self._beside: dict[Source, _TopicTimes] = {}

    def note_read(self, source: Source, next_offset: int, at_ms: int) -> None:
        """Note that all records of a topic which arrived before a time have been read, and lie below an offset."""
        topic = self._of(source) if source.is_beside_main else self._main
        if at_ms > topic.read[1]:
            topic.read = next_offset, at_ms

    def up_to(self, committable: Mapping[Source, int | None]) -> int:
        """The time before which all records arrived that are complete.

        Args:
            committable: below which offset of each topic all are complete; it has the main topic.
        """
        return min(self._of(source).up_to(below) for source, below in committable.items())

    def _of(self, source: Source) -> _TopicTimes:
        return self._beside.setdefault(source, _TopicTimes()) if source.is_beside_main else self._main


class _TopicTimes:
    """Remembers now and then how far a topic was read, and when what was read there had arrived."""

    def __init__(self) -> None:
        self.read = (0, 0)
        self._marks: deque[tuple[int, int]] = deque()
        self._complete_ms = 0

    def up_to(self, committable: int | None) -> int:
        if (not self._marks or self._marks[-1] != self.read) and len(self._marks) < MOST_MARKS:
            self._marks.append(self.read)
        while committable is not None and self._marks and self._marks[0][0] <= committable:
            self._complete_ms = max(self._complete_ms, self._marks.popleft()[1])
        return self._complete_ms
