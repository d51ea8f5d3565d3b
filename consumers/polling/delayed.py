"""`HeldRecords`: records of retry tiers that wait in memory until due, bounded in number and bytes."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Collection
from itertools import count

from ..records.assignment import Assignment
from ..records.record import Record


class HeldRecords:
    """Delayed records, ordered by the time at which each must be looked at again; owned by the poll thread.

    A tier's partition that holds its share is to be paused, and resumed when it is down to half of it, so that
    pausing, which costs the client's prefetch, stays rare.
    """

    def __init__(self, max_held: int, max_bytes: int) -> None:
        self._max_held = max_held
        self._max_bytes = max_bytes
        self._heap: list[tuple[float, int, Record]] = []
        self._sequence = count()
        self._per_assignment: Counter[Assignment] = Counter()
        self._bytes: Counter[Assignment] = Counter()

    def __len__(self) -> int:
        return len(self._heap)

    def records(self) -> list[Record]:
        """All of them, in no order."""
        return [record for _, _, record in self._heap]

    def hold(self, record: Record, wake_at_s: float) -> None:
        """Keep a record until the epoch time `wake_at_s`."""
        heapq.heappush(self._heap, (wake_at_s, next(self._sequence), record))
        self._per_assignment[record.assignment] += 1
        self._bytes[record.assignment] += record.size_bytes

    def pop_due(self, now_s: float, limit: int) -> list[Record]:
        """Take out at most `limit` records whose time has come, the earliest first."""
        due: list[Record] = []
        while self._heap and self._heap[0][0] <= now_s and len(due) < limit:
            record = heapq.heappop(self._heap)[2]
            self._per_assignment[record.assignment] -= 1
            self._bytes[record.assignment] -= record.size_bytes
            due.append(record)
        return due

    @property
    def next_due_at_s(self) -> float | None:
        """The epoch time of the earliest held record."""
        return self._heap[0][0] if self._heap else None

    def is_full(self, assignment: Assignment, tier_partitions: int) -> bool:
        """Whether the partition holds its share, with `tier_partitions` of them to share among."""
        return self._fill(assignment, tier_partitions) >= 1

    def is_half_empty(self, assignment: Assignment, tier_partitions: int) -> bool:
        """Whether a full partition has drained far enough to be resumed."""
        return self._fill(assignment, tier_partitions) <= 0.5

    def _fill(self, assignment: Assignment, tier_partitions: int) -> float:
        """The part of its share that a partition holds, of records or of bytes, whichever is more."""
        part = max(self._per_assignment[assignment] / self._max_held, self._bytes[assignment] / self._max_bytes)
        return part * max(1, tier_partitions)

    def drop(self, assignments: Collection[Assignment]) -> None:
        """Forget the records of partitions that are no longer ours."""
        self._heap = [entry for entry in self._heap if entry[2].assignment not in assignments]
        heapq.heapify(self._heap)
        for assignment in assignments:
            self._per_assignment.pop(assignment, None)
            self._bytes.pop(assignment, None)
