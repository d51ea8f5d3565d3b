"""`Priorities`: which priority a record has, and the lane that its key has there. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from ...topology.declaration.priorities import NORMAL
from .source import MAIN, Priority, Source


class Priorities:
    """The priorities that a queue declares.

    Attributes:
        weights: {priority: weight}, the most urgent first.
    """

    def __init__(self, weights: Mapping[str, int]) -> None:
        self.weights = weights
        self._names = {name.encode(): name for name in weights}
        self._marks = {name: f"\0{name}\0".encode() for name in weights}

    def of(self, source: Source, header: bytes | None) -> str:
        """The priority of a record: that of its topic; on a tier, a delay or the carried topic, that of its header."""
        if source is MAIN or header is None:
            return source.name if isinstance(source, Priority) else NORMAL
        return source.name if isinstance(source, Priority) else self._names.get(header, NORMAL)

    def lane(self, priority: str, lane: bytes | str | None) -> bytes | str | None:
        """The lane of a key at this priority: one key has a lane at each, since order holds within a priority only."""
        if priority == NORMAL or lane is None:
            return lane
        mark = self._marks[priority]
        return mark + lane if isinstance(lane, bytes) else mark.decode() + lane
