"""Counts of stored jobs by type and error: what an operator sees before anything is done."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

from ...topology.wire import headers as wire
from .stored_job import Ref, StoredJob

MAX_GROUPS: Final = 1_000
MESSAGE_LENGTH: Final = 200


class GroupKey(NamedTuple):
    """The key of a group of records."""

    job_type: str
    reason: str
    error_type: str
    fingerprint: str


OVERFLOW: Final = GroupKey("(others)", "", "", "")
"""Where records go once there are `MAX_GROUPS` groups, so that a flood of different errors cannot fill the memory."""


@dataclass(slots=True)
class DeadLetterGroup:
    """The records that share type, reason and error. Not frozen, because it counts.

    Attributes:
        first, last: the earliest and the latest timestamp.
        example: one of them.
        message: the error message of the example, shortened.
    """

    count: int
    first: datetime
    last: datetime
    example: Ref
    message: str

    def note(self, record: StoredJob) -> None:
        """Count one more."""
        self.count += 1
        self.first, self.last = min(self.first, record.at), max(self.last, record.at)


class GroupTally:
    """Counts records by `GroupKey`."""

    def __init__(self, records: Iterable[StoredJob] = ()) -> None:
        self._groups: dict[GroupKey, DeadLetterGroup] = {}
        for record in records:
            self.note(record)

    def note(self, record: StoredJob) -> None:
        """Count a record."""
        key = GroupKey(record.job_type, record.reason, record.error_type, record.fingerprint)
        if key not in self._groups and len(self._groups) >= MAX_GROUPS:
            key = OVERFLOW
        group = self._groups.get(key)
        if group is None:
            self._groups[key] = DeadLetterGroup(
                1, record.at, record.at, record.ref, _shortened(record.text(wire.ERROR_MESSAGE))
            )
        else:
            group.note(record)

    @property
    def total(self) -> int:
        """How many in all."""
        return sum(group.count for group in self._groups.values())

    def groups(self) -> list[tuple[GroupKey, DeadLetterGroup]]:
        """The groups, the largest first."""
        return sorted(self._groups.items(), key=lambda item: (-item[1].count, item[0]))

    def by_job_type(self) -> dict[str, int]:
        """{job type: how many}."""
        counts: dict[str, int] = {}
        for key, group in self._groups.items():
            counts[key.job_type] = counts.get(key.job_type, 0) + group.count
        return counts


def _shortened(message: str) -> str:
    return message if len(message) <= MESSAGE_LENGTH else f"{message[: MESSAGE_LENGTH - 1]}…"
