"""How far each partition has come: which offsets are incomplete, and what may be committed.

    taken               delivered by the consumer, not yet complete
    complete            its outcome is durable
    committed offset    the next offset to read such that nothing below it is incomplete
    position            the next offset to be delivered

Between committed offset and position, all that is not incomplete is complete, or does not exist: offsets may have gaps
(compaction, transaction markers), and the worker waits only for what was delivered. So the incomplete offsets are all
that the next owner needs, which runs nothing again that is complete.
"""

from __future__ import annotations

from collections import deque

from .commit_metadata import CommitMetadata, OffsetRange, joined


class OffsetsWentBack(Exception):
    """A record was delivered that lies before one that was delivered already: the partition is not what it was.

    What is known of it is void, so its assignment must end and another begin.
    """

    def __init__(self, offset: int, expected: int) -> None:
        super().__init__(f"offset {offset} was delivered, where {expected} or a later one was to come")
        self.offset, self.expected = offset, expected


class PartitionProgress:
    """The progress of one partition during one assignment; owned by the poll thread, without I/O.

    >>> progress = Progress()
    >>> for offset in (4, 5, 9): progress.take(offset)
    >>> progress.complete(5); progress.committable()
    4
    >>> progress.complete(4); progress.committable(), progress.incomplete_runs()
    (9, [(9, 10)])
    >>> progress.complete(9); progress.committable()
    10
    """

    __slots__ = ("_expected", "_incomplete", "_next_offset", "_restored_position")

    def __init__(self) -> None:
        self._incomplete: dict[int, None] = {}
        self._next_offset = -1
        self._expected: deque[OffsetRange] = deque()
        self._restored_position = -1

    def begin(self, state: CommitMetadata) -> None:
        """Begin at the committed offset of the owner before; `pass_over` leaves out what it completed."""
        self._next_offset = state.committed_offset
        self._expected = deque(state.incomplete)
        self._restored_position = state.position

    @property
    def is_passing(self) -> bool:
        """Whether records are still to come that the owner before has seen, some of which are complete."""
        return self._next_offset < self._restored_position

    def pass_over(self, offset: int) -> bool:
        """Ask of a delivered record whether it was complete before this assignment; if so, it needs nothing more.

        One that lies further back than it may was not: `take` raises the reason.
        """
        if offset < self._next_offset:
            return False
        self._forget_expected(offset)
        if offset >= self._restored_position or (self._expected and self._expected[0][0] <= offset):
            return False
        self._next_offset = offset + 1
        return True

    def _forget_expected(self, next_offset: int) -> None:
        """Wait no more for what was incomplete before but is not there any more."""
        while self._expected and self._expected[0][1] <= next_offset:
            self._expected.popleft()
        if self._expected and self._expected[0][0] < next_offset:
            self._expected[0] = (next_offset, self._expected[0][1])

    def take(self, offset: int) -> None:
        """Note a delivered record; offsets arrive ascending.

        Raises:
            OffsetsWentBack: they do not.
        """
        if offset < self._next_offset:
            raise OffsetsWentBack(offset, self._next_offset)
        self._incomplete[offset] = None
        self._next_offset = offset + 1

    def pass_gap(self, next_offset: int) -> None:
        """Note that nothing more is to be delivered below `next_offset`, such as at the partition's end."""
        if next_offset > self._next_offset:
            self._next_offset = next_offset
            self._forget_expected(next_offset)

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
        self._forget_expected(self._next_offset)
        if self._expected:
            return self._expected[0][0]
        return None if self.position < 0 else self.position

    @property
    def position(self) -> int:
        """The offset from which on nothing is known to be complete; negative while nothing is known at all."""
        return max(self._next_offset, self._restored_position)

    @property
    def incomplete(self) -> int:
        """How many delivered records have no durable outcome yet; any thread may ask."""
        return len(self._incomplete)

    def left_before(self, end: int) -> int:
        """How many offsets below the partition's end are not complete, those that are still to come included."""
        self._forget_expected(self._next_offset)
        expected = sum(after - first for first, after in self._expected)
        return len(self._incomplete) + expected + max(0, end - self.position)

    def incomplete_runs(self) -> list[OffsetRange]:
        """The incomplete offsets, those still to be delivered again included: ascending runs that do not touch."""
        self._forget_expected(self._next_offset)
        runs: list[OffsetRange] = []
        first = after = -1
        for offset in self._incomplete:
            if offset != after:
                if after >= 0:
                    runs.append((first, after))
                first = offset
            after = offset + 1
        if after >= 0:
            runs.append((first, after))
        return list(joined([*runs, *self._expected])) if self._expected else runs

    def is_incomplete(self, offset: int) -> bool:
        """Whether a record of this offset has no durable outcome yet, or is still to come."""
        return offset in self._incomplete or offset >= self._next_offset
