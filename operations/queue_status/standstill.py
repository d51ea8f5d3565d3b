"""Partitions that stand still: the group's offset does not move, while records wait behind it that no worker explains.

Workers report what holds a partition up (`blocker_reports.py`). Where none does, as of a record that the client cannot
read, or where the events cannot be written, two readings of the offsets show that it stands, and the record's age
shows for how long.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from ..instants import rounded

if TYPE_CHECKING:
    from ..cluster_view import Partition

OLD_AFTER: Final = timedelta(seconds=60)
"""How long a job must have been ready before its partition counts as standing still."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standstill:
    """A partition that did not move between two readings.

    Attributes:
        offset: of the record at which it stands.
        behind: how many records come after that one.
        since: when its job was ready to run; None where the record could not be read.
    """

    partition: Partition
    offset: int
    behind: int
    since: datetime | None

    def sentence(self, now: datetime) -> str:
        """Where it stands, and for how long."""
        topic, number = self.partition
        record = "which could not be read" if self.since is None else f"ready for {rounded(now - self.since)}"
        return f"{topic}/{number} stands still at offset {self.offset}, {record}, with {self.behind:,} more behind it"

    @property
    def fix(self) -> str:
        """Where to look next."""
        topic, number = self.partition
        return (
            f"look for {topic}/{number}/{self.offset} in the log of the partition's worker: its outcome cannot be "
            "written, the client cannot read it, or its worker hangs (`kill -USR1` prints what it does)"
        )


def standstills(
    before: Mapping[Partition, int],
    after: Mapping[Partition, int],
    ends: Mapping[Partition, int],
    ready: Mapping[Partition, datetime | None],
    now: datetime,
) -> list[Standstill]:
    """Find the partitions that did not move between two readings at the group's offsets.

    Args:
        before, after: {partition: the group's offset}.
        ends: {partition: offset of the record to come}, as of the second look.
        ready: {partition: when the job at its offset could run}; None where it could not be read. Partitions without
            waiting jobs are left out.
    """
    return [
        Standstill(partition=part, offset=after[part], behind=ends[part] - after[part] - 1, since=since)
        for part, since in ready.items()
        if part in after and before.get(part) == after[part] < ends[part] and (since is None or now - since > OLD_AFTER)
    ]


def unexplained(
    found: Iterable[Standstill], topics: Collection[str], explained: Collection[Partition]
) -> list[Standstill]:
    """The partitions of some topics that no worker reports on."""
    return [one for one in found if one.partition[0] in topics and one.partition not in explained]
