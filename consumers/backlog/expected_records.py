"""`ExpectedRecords`: the records that are being read again. Each lane gets its records back in its own order."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator

from ..progress.assignment import Assignment, Place
from ..records.record import Record


class ExpectedRecords:
    """The wanted records that are not back in their lanes; guarded by the backlog's lock.

    A sweep brings the records of one partition upwards, but a lane may want some that the sweep has passed, or that
    stand in two topics, or that a first sweep has missed. A record that comes *early* is kept here until those before
    it have come, or are known to be gone.

    Attributes:
        orders: {hash of a lane: places of its coming records, in its order}; only lanes with coming records.
    """

    def __init__(self) -> None:
        self.orders: dict[int, deque[Place]] = {}
        self._lanes: dict[Place, int] = {}
        self._early: dict[Place, Record | None] = {}

    def __len__(self) -> int:
        """How many records are not back in their lanes."""
        return len(self._lanes)

    def items(self) -> Iterator[tuple[Place, int]]:
        """All of it, with the hashes of the lanes."""
        return iter(self._lanes.items())

    def add(self, lane_hash: int, places: Iterable[Place]) -> None:
        """Expect these records of a lane, in this order, after its coming ones."""
        places = list(places)
        self.orders.setdefault(lane_hash, deque()).extend(places)
        self._lanes.update(dict.fromkeys(places, lane_hash))

    def end(self, place: Place, record: Record | None) -> tuple[int | None, list[Record]]:
        """Take a record that was read again, or None for one that is gone.

        Returns the hash of its lane, None if no lane waits for it, and the records that are back now, in order.
        """
        lane_hash = self._lanes.get(place)
        if lane_hash is None or place in self._early:
            return None, []
        order = self.orders[lane_hash]
        if order[0] != place:
            self._early[place] = record
            return lane_hash, []
        order.popleft()
        del self._lanes[place]
        back = [] if record is None else [record]
        if not order:
            del self.orders[lane_hash]
        elif self._early:
            back += self._take_early(lane_hash)
        return lane_hash, back

    def _take_early(self, lane_hash: int) -> list[Record]:
        """Take out the early records of a lane that no coming record precedes any more."""
        order, back = self.orders[lane_hash], []
        while order and order[0] in self._early:
            place = order.popleft()
            del self._lanes[place]
            record = self._early.pop(place)
            if record is not None:
                back.append(record)
        if not order:
            del self.orders[lane_hash]
        return back

    def drop(self, assignments: Collection[Assignment]) -> tuple[list[Record], list[tuple[int, Record]]]:
        """Forget the records of partitions that are no longer ours.

        Returns the forgotten records that had come early, and the other records that are back now, with their lanes.
        """
        gone = [place for place in self._lanes if place[0] in assignments]
        touched = {self._lanes.pop(place) for place in gone}
        dropped = [record for place in gone if (record := self._early.pop(place, None)) is not None]
        back: list[tuple[int, Record]] = []
        for lane_hash in touched:
            self.orders[lane_hash] = deque(place for place in self.orders[lane_hash] if place[0] not in assignments)
            back += ((lane_hash, record) for record in self._take_early(lane_hash))
        return dropped, back
