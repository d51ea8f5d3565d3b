"""`TenantLines`: unread records that are aside in the line of their tenant, before they come to their lanes.

Lines and lanes are in one backlog, under one lock. So one decision puts a record into its lane or its line, and both
share the handling of rebalances, gaps in the log and reading again. `fairness/read_ahead.py` decides whose records go
to a line. A record that was read again goes on to its lane.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable

from ..progress.assignment import Assignment
from ..records.record import Record
from .lane_backlog import LaneBacklog


def line_of(tenant: bytes | None) -> int:
    """The hash that names the line of a tenant among those of lanes."""
    return hash(("stoker.tenant", tenant))


class TenantLines:
    """The lines of one queue, known by their hashes (`line_of`); safe to call from all threads.

    Falsy where no tenant has a line, as in all queues whose tenants share no runners.
    """

    def __init__(self, backlog: LaneBacklog) -> None:
        self._backlog = backlog
        self._lock = backlog.lock
        self._lengths: dict[int, int] = {}  # with what is on its way
        self._back: list[Record] = []

    def __bool__(self) -> bool:
        return bool(self._lengths)

    def __contains__(self, lane_hash: int) -> bool:
        """Whether a hash is that of a line, and of no lane."""
        return lane_hash in self._lengths

    @property
    def waiting(self) -> int:
        """How many records are aside in lines, or on their way."""
        with self._lock:
            return sum(self._lengths.values())

    def put(self, line: int, assignment: Assignment, offsets: Collection[int]) -> None:
        """Put unread records aside, behind others of their tenant."""
        with self._lock:
            self._lengths[line] = self._lengths.get(line, 0) + len(offsets)
            self._backlog.put_all(line, assignment, offsets)

    def want(self, line: int, room: int, least: int) -> bool:
        """Have the next records of a line read again; False where nothing of it is left.

        Args:
            room: how many records there is room for, including the ones that are being read.
            least: fewer are not asked for, as each request costs something.
        """
        with self._lock:
            room -= self._backlog.coming_of(line)
            if room >= least:
                self._backlog.want_more(line, room)
            is_left = self._backlog.holds(line)
            if not is_left:
                self._lengths.pop(line, None)
        return is_left

    def take_back(self) -> list[Record]:
        """Take the records that were read again, for their lanes."""
        with self._lock:
            taken, self._back = self._back, []
        return taken

    # ---- the caller holds the lock

    def put_behind(self, line: int, assignment: Assignment, offset: int) -> bool:
        """Put a record aside behind others of its tenant; False where none are in a line."""
        if line not in self._lengths:
            return False
        self._lengths[line] += 1
        self._backlog.put(line, assignment, offset)
        return True

    def bring_back(self, line: int, records: Collection[Record]) -> None:
        """Take the next records of a line, as they were read again."""
        self._lengths[line] -= len(records)
        self._back += records

    def note_gone(self, lane_hash: int) -> None:
        """Note that a record which was wanted is not in the log any more, of a line or of a lane."""
        if lane_hash in self._lengths:
            self._lengths[lane_hash] -= 1

    def drop(self, assignments: Collection[Assignment], back: Iterable[tuple[int, Record]]) -> list[Record]:
        """Forget the records of partitions that are no longer ours, which the backlog has dropped.

        Returns those of them that were read again already.

        Args:
            back: records of others that are back by this, with the hashes of their lines or lanes; `bring_back` comes
                next for those of lines.
        """
        if self._lengths:
            left = Counter(lane_hash for _, lane_hash in self._backlog.items())
            left.update(lane_hash for lane_hash, _ in back)
            self._lengths = {line: left[line] for line in self._lengths}
        dropped = [record for record in self._back if record.assignment in assignments]
        self._back = [record for record in self._back if record.assignment not in assignments]
        return dropped
