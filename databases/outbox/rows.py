"""The outbox's table as its relay uses it, and its status for people."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, NamedTuple, Protocol

MOST_COUNTED: Final = 1_000_000
"""Rows beyond that are not counted, since that would read the whole table."""
MOST_LOOKED_AT: Final = 100_000
"""As far the relay counts, which has rows to publish."""
MOST_FAILED: Final = 20
"""Rows that cannot be published and are shown, at most."""


class OutboxRow(NamedTuple):
    """One row to be published; a tuple, since a relay makes one for each job.

    Attributes:
        partition_key: chooses the partition where that is not `key`.
        headers: {name: value}, as JSON.
        tries: how often it could not be published, for a reason of its own.
        is_behind: an earlier row of its key could not be published, and waits still.
    """

    id: int
    job_id: str
    job_type: str
    topic: str
    partition_key: bytes | None
    key: bytes | None
    headers: str
    value: bytes
    tries: int
    is_behind: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """The note that the working relay writes of itself, about every second.

    Attributes:
        holder: which process it is, `host/process id`.
        published: rows since it began to work.
        rate_per_s: rows a second, of late.
        trouble: what keeps it from publishing; None where nothing does.
    """

    holder: str
    published: int
    rate_per_s: float
    trouble: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedRow:
    """A row that could not be published."""

    id: int
    job_id: str
    job_type: str
    topic: str
    reason: str
    tries: int
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxStatus:
    """One moment of an outbox.

    Attributes:
        waiting: rows that will be published next; `MOST_COUNTED` stands for that many or more.
        behind: rows that wait for an earlier one of their key, which has failed.
        failed: rows that could not be published; they are tried again every half minute.
        oldest_at: when the oldest of all these was enqueued.
        size_bytes: of the table and its indexes; None where the database does not count it.
        beat: the last note of a relay; None where none has ever worked.
        beat_at: when it was written.
        first_failed: the first of the failed rows.
    """

    waiting: int
    behind: int
    failed: int
    oldest_at: datetime | None
    size_bytes: int | None
    beat: Beat | None
    beat_at: datetime | None
    first_failed: tuple[FailedRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxBacklog:
    """How much waits in an outbox.

    Attributes:
        waiting, behind, failed: as in `OutboxStatus`; `MOST_LOOKED_AT` stands for that many or more.
        oldest_age_s: how long ago the oldest of all these was enqueued, by the database's clock; 0 where there is none.
    """

    waiting: int
    behind: int
    failed: int
    oldest_age_s: float


class OutboxTable(Protocol):
    """An outbox's table on a connection of its own; every method raises the driver's errors."""

    def create(self) -> None:
        """Create the tables, which changes nothing where they are there."""

    def prepare(self) -> None:
        """Make the connection the relay's, where rows can be deleted.

        Raises:
            DatabaseRefused: this server is a replica.
            OutboxTableMissing: there is no such table.
        """

    def take_lead(self, holder: str) -> bool:
        """Become, or stay, the relay that works; False while another one does."""

    def give_lead(self, holder: str) -> None:
        """Let another relay work."""

    def read(self, limit: int, without: Collection[int], without_topics: Collection[str]) -> list[OutboxRow]:
        """Read the first visible rows that are neither failed nor behind, in the order of commits within a key."""

    def read_failed(self, limit: int, pause: timedelta, without_topics: Collection[str]) -> list[OutboxRow]:
        """Read rows that could not be published, and were tried longer ago than the pause."""

    def delete(self, ids: Sequence[int]) -> None:
        """Delete rows that the brokers have confirmed."""

    def delete_jobs(self, rows: Mapping[int, str]) -> None:
        """Delete rows that the brokers have confirmed, where they are of the same jobs still.

        Args:
            rows: {id: job id}.
        """

    def set_failed(self, ids: Sequence[int], reason: str) -> None:
        """Note that rows could not be published, and why."""

    def set_behind(self, ids: Sequence[int]) -> None:
        """Mark rows as behind a failed one of their key."""

    def release(self) -> int:
        """Bring rows back that are behind no other any more."""

    def wait(self, timeout_s: float) -> None:
        """Wait until there may be new rows, or for some milliseconds."""

    def stay_awake(self) -> None:
        """Note that there are rows, so that more are likely."""

    def note(self, beat: Beat) -> None:
        """Write what people see of the relay."""

    def backlog(self) -> OutboxBacklog:
        """Count what waits, in one statement."""

    def status(self) -> OutboxStatus:
        """Look at the table."""

    def retry(self) -> int:
        """Have the relay try all rows again at once that could not be published."""

    def count_failed(self, before: datetime) -> int:
        """How many rows `prune_failed` would delete."""

    def prune_failed(self, before: datetime) -> int:
        """Delete rows that could not be published and were enqueued before; those behind them go on."""

    def close(self) -> None:
        """Close the connection."""
