"""How far each partition has come: which offsets are incomplete, and what may be committed.

    incomplete          delivered by the consumer, not yet complete
    complete            its outcome is durable
    committed offset    the next offset to read such that nothing below it is incomplete
    position            the next offset to be delivered

Between committed offset and position, all that is not incomplete is complete, or does not exist: offsets may have gaps
(compaction, transaction markers), and the worker waits only for what was delivered. So the incomplete offsets are all
that the next owner needs, which runs nothing again that is complete.

The offsets delivered last are in a dict, the fastest container there is for what soon completes; what stays incomplete
moves on to bitmaps (`OffsetSet`), where a million of them take some 130 KB.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from typing import Final

from ...topology.wire.commit_metadata import CommitMetadata, OffsetRange, joined
from .offset_set import OffsetSet

RECENT: Final = 4_096
"""Offsets delivered last that are in the dict at least, and twice as many at most: about those in flight."""


class OffsetsWentBack(Exception):
    """A record was delivered that lies before one that was delivered already: the partition is not what it was.

    What is known of it is void, so its assignment must end and another begin.
    """

    def __init__(self, offset: int, expected: int) -> None:
        super().__init__(f"offset {offset} was delivered, where {expected} or a later one was to come")
        self.offset, self.expected = offset, expected


class PartitionProgress:
    """The progress of one partition during one assignment; owned by the poll thread, without I/O.

    >>> progress = PartitionProgress()
    >>> for offset in (4, 5, 9): progress.note_delivered(offset)
    >>> progress.complete(5); progress.committable()
    4
    >>> progress.complete(4); progress.committable(), progress.incomplete_runs()
    (9, [(9, 10)])
    >>> progress.complete(9); progress.committable()
    10
    """

    # `_older` has what was delivered before all of `_recent`. While the assignment catches up with the owner before, it
    # has as well what that one left incomplete and is still expected, between `_catching_up_at` and `_catching_up_end`.
    __slots__ = ("_catching_up_at", "_catching_up_end", "_expected", "_fold_at", "_older", "_position", "_recent")

    def __init__(self) -> None:
        self._recent: dict[int, None] = {}
        self._older = OffsetSet()
        self._position = -1
        self._fold_at = RECENT
        self._catching_up_at = self._catching_up_end = -1
        self._expected = 0

    def begin(self, state: CommitMetadata, incomplete: OffsetSet | None = None) -> None:
        """Begin at the committed offset of the owner before; `pass_over` leaves out what it completed.

        Args:
            incomplete: what that owner left incomplete below the position, to be kept; None where `state` has it.
        """
        self._older = OffsetSet(state.incomplete) if incomplete is None else incomplete
        self._expected = self._older.count
        self._catching_up_at, self._catching_up_end = state.committed_offset, state.position
        self._position = state.position

    def begin_known(self, position: int, incomplete: OffsetSet) -> None:
        """Begin with all that is incomplete below a position at hand, so that none of it is to be delivered."""
        self._older, self._expected = incomplete, 0
        self._catching_up_at = self._catching_up_end = self._position = position

    def supersede(self, offsets: Iterable[int]) -> None:
        """Note that records which are still to be delivered are complete, since copies of them are at hand."""
        for offset in offsets:
            if self._catching_up_at <= offset < self._catching_up_end and offset in self._older:
                self._older.remove(offset)
                self._expected -= 1

    @property
    def fetched_from(self) -> int:
        """Where fetching begins: at the first record that may be incomplete and is not at hand."""
        return (self.committable() or 0) if self.is_catching_up else max(0, self._position)

    def incomplete_between(self, start: int, end: int, limit: int) -> list[int]:
        """The first incomplete offsets from `start` up to, not including, `end`."""
        return self.incomplete_set().lowest_between(start, end, limit)

    @property
    def is_catching_up(self) -> bool:
        """Whether records are still to come that the owner before has seen, some of which are complete."""
        return self._catching_up_at < self._catching_up_end and self._position <= self._catching_up_end

    @property
    def _next_offset(self) -> int:
        """The lowest offset that may be delivered next."""
        return self._catching_up_at if self.is_catching_up else self._position

    def pass_over(self, offset: int) -> bool:
        """Ask of a delivered record whether it was complete before this assignment; if so, it needs nothing more.

        One that lies further back than it may was not: `note_delivered` raises the reason.
        """
        if offset > self._catching_up_at:
            self._pass_to(offset)
        if not self._catching_up_at <= offset < self._catching_up_end or offset in self._older:
            return False
        self._catching_up_at = offset + 1
        return True

    def _pass_to(self, next_offset: int) -> None:
        """Wait no more for what was incomplete before but is not there any more."""
        end = min(next_offset, self._catching_up_end)
        if end > self._catching_up_at:
            self._expected -= self._older.clear(self._catching_up_at, end)
            self._catching_up_at = end

    def note_delivered(self, offset: int) -> None:
        """Note a delivered record; offsets arrive ascending.

        Raises:
            OffsetsWentBack: they do not.
        """
        if offset < self._position:
            self._note_again(offset)
            return
        self._recent[offset] = None
        self._position = offset + 1
        if offset >= self._fold_at:
            self._fold(offset - RECENT)

    def _note_again(self, offset: int) -> None:
        """Take one that the owner before has seen."""
        if offset < self._next_offset:
            raise OffsetsWentBack(offset, self._next_offset)
        self._pass_to(offset)
        if offset in self._older:
            self._expected -= 1
        else:
            self._older.add([offset])
        self._catching_up_at = offset + 1

    def _fold(self, end: int) -> None:
        """Move what was delivered below an offset, and is incomplete, on to the bitmaps."""
        self._fold_at = self._position + RECENT
        recent = list(self._recent)
        folded = bisect_left(recent, end)
        if folded:
            self._older.add(recent[:folded])
            self._recent = dict.fromkeys(recent[folded:])

    def pass_gap(self, next_offset: int) -> None:
        """Note that nothing more is to be delivered below `next_offset`, such as at the partition's end."""
        self._pass_to(next_offset)
        self._position = max(self._position, next_offset)

    def complete(self, offset: int) -> None:
        """Note that the record's outcome is durable.

        Raises:
            KeyError: the offset was not delivered, or is complete already: the caller counts wrong.
        """
        try:
            del self._recent[offset]
        except KeyError:
            if self._expected and offset >= self._catching_up_at:
                raise  # it is still to be delivered again
            self._older.remove(offset)

    def committable(self) -> int | None:
        """The offset to commit, or None while nothing is known."""
        self._end_catching_up()
        lowest = self._older.lowest
        if lowest is not None:
            return lowest
        for offset in self._recent:
            return offset
        return None if self._position < 0 else self._position

    def _end_catching_up(self) -> None:
        """Count the expected offsets as complete that do not come any more, since later records have."""
        if self._position > self._catching_up_end:
            self._pass_to(self._catching_up_end)

    @property
    def position(self) -> int:
        """The offset from which on nothing is known to be complete; negative while nothing is known at all."""
        return self._position

    @property
    def incomplete(self) -> int:
        """How many delivered records have no durable outcome yet; any thread may ask."""
        return len(self._recent) + self._older.count - self._expected

    def left_before(self, end: int) -> int:
        """How many offsets below the partition's end are not complete, those that are still to come included."""
        self._end_catching_up()
        return len(self._recent) + self._older.count + max(0, end - self._position)

    def incomplete_runs(self) -> list[OffsetRange]:
        """The incomplete offsets, those still to be delivered again included: ascending runs that do not touch."""
        self._end_catching_up()
        runs, recent = self._older.runs(), self._recent_runs()
        return list(joined([*runs, *recent])) if runs and recent else runs or recent

    def _recent_runs(self) -> list[OffsetRange]:
        runs: list[OffsetRange] = []
        first = after = -1
        for offset in self._recent:
            if offset != after:
                if after >= 0:
                    runs.append((first, after))
                first = offset
            after = offset + 1
        if after >= 0:
            runs.append((first, after))
        return runs

    def incomplete_set(self) -> OffsetSet:
        """The incomplete offsets as a set; read it and do not keep it, since it goes on changing."""
        self._end_catching_up()
        self._fold(self._position)
        return self._older

    def has_many_runs(self, most: int) -> bool:
        """Whether there are more runs of incomplete offsets than this, those of the last few offsets not counted."""
        self._end_catching_up()
        return self._older.has_more_runs_than(most)

    def is_incomplete(self, offset: int) -> bool:
        """Whether a record of this offset has no durable outcome yet, or is still to come."""
        return offset in self._recent or offset in self._older or offset >= self._next_offset
