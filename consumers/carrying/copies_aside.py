"""`CopiesAside`: puts carried copies aside, each in the place of its record, or behind others of its tenant or key.

A record is aside in its lane, or unread in the line of its tenant. `CopiesAside` finds it and puts the copy in its
place under one hold of the backlog's lock: runners want records meanwhile, and a wanted record is no longer aside.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from itertools import repeat

from ..backlog.lane_backlog import LaneBacklog, hash_of
from ..backlog.tenant_lines import TenantLines, line_of
from ..progress.assignment import Assignment, Place
from ..records.record import Record


class CopiesAside:
    """Carried copies in the backlog of one queue; safe to call from all threads."""

    def __init__(self, backlog: LaneBacklog, lines: TenantLines) -> None:
        self._backlog = backlog
        self._lines = lines

    def has(self, record: Record) -> bool:
        """Whether a record is aside, and no lane has wanted it yet."""
        place = record.assignment, record.offset
        with self._backlog.lock:
            return any(self._backlog.has_aside(found, place) for found in self._hashes_of(record))

    def stand_in(self, copy: Record, place: Place) -> bool:
        """Put a copy in the place of its record; False if the record is not aside."""
        by = copy.assignment, copy.offset
        with self._backlog.lock:
            return any(self._backlog.replace(found, place, by) for found in self._hashes_of(copy))

    def _hashes_of(self, record: Record) -> Iterator[int]:
        """The hashes under which a record may be aside."""
        if record.lane is not None:
            yield hash_of(record.lane)
        if self._lines:
            yield line_of(record.tenant)

    def put(
        self, assignment: Assignment, lane_hashes: Sequence[int], offsets: Sequence[int], lines: Sequence[int] = ()
    ) -> Sequence[int]:
        """Put copies aside that take no record's place, each at the end of its lane.

        If the tenant has a line, the copy goes to the end of the line: earlier jobs of its key may be in it.

        Args:
            lines: the hashes of the tenants' lines; empty where tenants share no runners.

        Returns:
            The lanes that copies were added to. Their records are not ready until `Lanes.wake`.
        """
        lanes = array("q")
        with self._backlog.lock:
            for lane_hash, offset, line in zip(lane_hashes, offsets, lines or repeat(None), strict=False):
                if line is None or not self._lines.put_behind(line, assignment, offset):
                    lanes.append(lane_hash)
                    self._backlog.put(lane_hash, assignment, offset)
        return lanes

    def put_in_line(self, copy: Record) -> bool:
        """Put a copy that takes no record's place at the end of its tenant's line; False if the tenant has none.

        The record may have an earlier copy. If that one is in the line, earlier jobs of the key may be in it as well.
        """
        with self._backlog.lock:
            return self._lines.put_behind(line_of(copy.tenant), copy.assignment, copy.offset)
