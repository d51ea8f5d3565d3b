"""`Priorities`: which priority a record has, and the lane that its key has there. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from ...topology.declaration.priorities import NORMAL
from .source import Source


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
        of_all = source.priority
        if of_all is not None:
            return of_all
        return NORMAL if header is None else self._names.get(header, NORMAL)

    def lane(self, priority: str, lane: bytes | str | None) -> bytes | str | None:
        """The lane of a key at this priority: one key has a lane at each, since order holds within a priority only."""
        if priority == NORMAL or lane is None:
            return lane
        mark = self._marks[priority]
        return mark + lane if isinstance(lane, bytes) else mark.decode() + lane
