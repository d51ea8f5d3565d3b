"""`ComingOffsets`: delayed records of a calendar that are wanted, or are being read again, by their offsets."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from ..backlog.requester import Wanted
from ..progress.assignment import Assignment, Place


class ComingOffsets:
    """Records that are to come again, each until it has come or is gone; owned by the poll thread.

    Attributes:
        count: how many there are.
        first_tick: no record is due before it, as long as there are any.
        again: those that are wanted because their times may be others by now, until they are taken.
    """

    def __init__(self) -> None:
        self._offsets: dict[Assignment, set[int]] = {}
        self.again: Wanted = {}
        self.count = self.first_tick = 0

    def add(self, assignment: Assignment, offsets: Collection[int], tick: int) -> None:
        """Add offsets whose records are due in a tick."""
        self.first_tick = min(self.first_tick, tick) if self.count else tick
        self.count += len(offsets)
        self._offsets.setdefault(assignment, set()).update(offsets)

    def add_again(self, assignment: Assignment, offsets: Collection[int], tick: int) -> None:
        """Add offsets to be wanted at once."""
        self.add(assignment, offsets, tick)
        self.again.setdefault(assignment, []).extend(sorted(offsets))

    def take_again(self) -> Wanted:
        """Take those that are wanted at once."""
        wanted, self.again = self.again, {}
        return wanted

    def end(self, assignment: Assignment, offset: int) -> bool:
        """Wait no more for one that has come, or is gone; False where it was not wanted."""
        offsets = self._offsets.get(assignment, ())
        if offset not in offsets:
            return False
        self.count -= 1
        self._offsets[assignment].remove(offset)
        if not self._offsets[assignment]:
            del self._offsets[assignment]
        return True

    def has(self, place: Place) -> bool:
        """Whether one is to come."""
        return place[1] in self._offsets.get(place[0], ())

    def drop(self, assignments: Collection[Assignment]) -> None:
        """Forget those of partitions that are no longer ours."""
        for assignment in assignments:
            self.count -= len(self._offsets.pop(assignment, ()))
            self.again.pop(assignment, None)

    def __iter__(self) -> Iterator[Place]:
        """The places of all, in no order."""
        for assignment, offsets in self._offsets.items():
            yield from ((assignment, offset) for offset in offsets)
