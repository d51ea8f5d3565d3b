"""How far each partition has come: which offsets are incomplete, and what may be committed.

    taken       delivered by the consumer, not yet complete
    complete    its outcome is durable
    committable the next offset to read such that nothing below it is incomplete

Offsets may have gaps (compaction, transaction markers): only offsets that were delivered are waited for.
"""

from __future__ import annotations


class Progress:
    """The progress of one partition during one assignment; owned by the poll thread, without I/O.

    >>> progress = Progress()
    >>> for offset in (4, 5, 9): progress.take(offset)
    >>> progress.complete(5); progress.committable()
    4
    >>> progress.complete(4); progress.committable()
    9
    >>> progress.complete(9); progress.committable()
    10
    """

    __slots__ = ("_incomplete", "_next_offset")

    def __init__(self) -> None:
        self._incomplete: dict[int, None] = {}
        self._next_offset: int | None = None

    def take(self, offset: int) -> None:
        """Note a delivered record; offsets arrive ascending."""
        self._incomplete[offset] = None
        self._next_offset = offset + 1

    def pass_gap(self, next_offset: int) -> None:
        """Note that nothing more is to be delivered below `next_offset`, such as at the partition's end."""
        if self._next_offset is None or next_offset > self._next_offset:
            self._next_offset = next_offset

    def complete(self, offset: int) -> None:
        """Note that the record's outcome is durable.

        Raises:
            KeyError: the offset was not taken, or is complete already: the caller counts wrong.
        """
        del self._incomplete[offset]

    def committable(self) -> int | None:
        """The offset to commit, or None while nothing is known."""
        for lowest in self._incomplete:
            return lowest
        return self._next_offset

    @property
    def incomplete(self) -> int:
        """How many delivered records have no durable outcome yet."""
        return len(self._incomplete)
