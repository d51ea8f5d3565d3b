"""The statements on the outbox's table that both databases share; each has its own for sets, instants and locks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from ..sql import quoted
from .rows import MOST_COUNTED, MOST_FAILED, MOST_LOOKED_AT, Beat, FailedRow, OutboxBacklog, OutboxRow, OutboxStatus
from .table import relay_table

_OF_KEY = (
    "EXISTS (SELECT 1 FROM {t} f WHERE f.aside_at IS NOT NULL AND f.topic = o.topic AND f.key = o.key{and_failed})"
)


class SqlOutbox(ABC):
    """One outbox on an open connection that commits each statement.

    A row is in one of three states. *Ready*: `aside_at` is null. *Failed*: `tries` is above 0; it could not be
    published, which `reason` explains, and `aside_at` is when it was tried last. *Behind*: `aside_at` is set and
    `tries` is 0; an earlier row of its key has failed.
    """

    _MARK: ClassVar[str]
    _COLUMNS: ClassVar[str]
    """The expressions of an `OutboxRow`, but for the last one."""
    _NOW: ClassVar[str]
    _AGO: ClassVar[str]
    """An instant by the database's clock, so many seconds ago: a relay's own may be another."""
    _PLACE: ClassVar[str] = "o.id"
    """The expression by which rows are ordered."""

    def __init__(self, table: str) -> None:
        self.name = table
        self._words = {"t": quoted(table), "relay": quoted(relay_table(table)), "now": self._NOW, "m": self._MARK}
        behind = _OF_KEY.format(**self._words, and_failed="")
        blocked = _OF_KEY.format(**self._words, and_failed=" AND f.tries > 0")
        self._read = (
            f"SELECT {self._COLUMNS}, {behind} FROM {quoted(table)} o "
            f"WHERE o.aside_at IS NULL AND NOT {self._in('o.id')} "
            f"AND NOT {self._in('o.topic')} ORDER BY {self._PLACE} LIMIT {self._MARK}"
        )
        self._read_failed = (
            f"SELECT {self._COLUMNS}, 1 = 0 FROM {quoted(table)} o WHERE o.tries > 0 AND o.aside_at < {self._AGO} "
            f"AND NOT {self._in('o.topic')} ORDER BY o.aside_at, o.id LIMIT {self._MARK}"
        )
        self._release = (
            f"UPDATE {quoted(table)} AS o SET aside_at = NULL WHERE o.aside_at IS NOT NULL AND o.tries = 0 "
            f"AND NOT {blocked}"
        )

    # ---- what differs

    @abstractmethod
    def _run(self, sql: str, *values: object) -> Any:
        """Run a statement and commit it; returns the driver's cursor."""

    @abstractmethod
    def _in(self, column: str) -> str:
        """A condition: the column is among the next value, a `_set`."""

    @abstractmethod
    def _set(self, members: Iterable[int] | Iterable[str]) -> object:
        """Ids or topics as one value."""

    @abstractmethod
    def _as_column(self, instant: datetime) -> object:
        """An instant as a column holds it."""

    @abstractmethod
    def _size_bytes(self) -> int | None: ...

    # ---- the relay's

    def read(self, limit: int, without: Collection[int], without_topics: Collection[str]) -> list[OutboxRow]:
        """See OutboxTable."""
        found = self._run(self._read, self._set(without), self._set(without_topics), limit)
        return [OutboxRow._make(row) for row in found.fetchall()]

    def read_failed(self, limit: int, pause: timedelta, without_topics: Collection[str]) -> list[OutboxRow]:
        """See OutboxTable."""
        found = self._run(self._read_failed, pause.total_seconds(), self._set(without_topics), limit)
        return [OutboxRow._make(row) for row in found.fetchall()]

    def delete(self, ids: Sequence[int]) -> None:
        """See OutboxTable."""
        self._do(f"DELETE FROM {{t}} WHERE {self._in('id')}", self._set(ids))

    def delete_jobs(self, rows: Mapping[int, str]) -> None:
        """See OutboxTable."""
        jobs = self._set(rows.values())
        self._do(f"DELETE FROM {{t}} WHERE {self._in('id')} AND {self._in('job_id')}", self._set(rows), jobs)

    def set_failed(self, ids: Sequence[int], reason: str) -> None:
        """See OutboxTable."""
        self._do(
            f"UPDATE {{t}} SET aside_at = {{now}}, tries = tries + 1, reason = {{m}} WHERE {self._in('id')}",
            reason,
            self._set(ids),
        )

    def set_behind(self, ids: Sequence[int]) -> None:
        """See OutboxTable."""
        self._do(f"UPDATE {{t}} SET aside_at = {{now}} WHERE {self._in('id')}", self._set(ids))

    def release(self) -> int:
        """See OutboxTable."""
        return int(self._run(self._release).rowcount)

    def note(self, beat: Beat) -> None:
        """See OutboxTable."""
        values = (beat.holder, beat.published, beat.rate_per_s, beat.trouble)
        self._do(
            "INSERT INTO {relay} (id, holder, beat_at, published, rate_per_s, trouble) "
            "VALUES (1, {m}, {now}, {m}, {m}, {m}) ON CONFLICT (id) DO UPDATE SET holder = excluded.holder, "
            "beat_at = excluded.beat_at, published = excluded.published, rate_per_s = excluded.rate_per_s, "
            "trouble = excluded.trouble",
            *values,
        )

    def backlog(self) -> OutboxBacklog:
        """See OutboxTable."""
        states = ("aside_at IS NULL", "aside_at IS NOT NULL AND tries = 0", "aside_at IS NOT NULL AND tries > 0")
        counts = ", ".join(f"(SELECT count(*) FROM ({_some(state)}) AS found)" for state in states)
        oldest = "(SELECT enqueued_at FROM {t} ORDER BY id LIMIT 1)"
        waiting, behind, failed, since, now = self._do(f"SELECT {counts}, {oldest}, {{now}}").fetchone()
        age_s = 0.0 if since is None else max(0.0, (_instant(now) - _instant(since)).total_seconds())
        return OutboxBacklog(waiting=waiting, behind=behind, failed=failed, oldest_age_s=age_s)

    # ---- the operator's

    def status(self) -> OutboxStatus:
        """See OutboxTable."""
        beat, beat_at = self._beat()
        oldest = self._do("SELECT enqueued_at FROM {t} ORDER BY id LIMIT 1").fetchone()
        return OutboxStatus(
            waiting=self._count("aside_at IS NULL"),
            behind=self._count("aside_at IS NOT NULL AND tries = 0"),
            failed=self._count("tries > 0"),
            oldest_at=None if oldest is None else _instant(oldest[0]),
            size_bytes=self._size_bytes(),
            beat=beat,
            beat_at=beat_at,
            first_failed=self._first_failed(),
        )

    def _count(self, condition: str) -> int:
        sql = f"SELECT count(*) FROM (SELECT 1 FROM {{t}} WHERE {condition} LIMIT {MOST_COUNTED}) AS found"
        return int(self._do(sql).fetchone()[0])

    def _beat(self) -> tuple[Beat | None, datetime | None]:
        row = self._do("SELECT holder, published, rate_per_s, trouble, beat_at FROM {relay}").fetchone()
        if row is None:
            return None, None
        holder, published, rate, trouble, beat_at = row
        return Beat(holder=holder, published=published, rate_per_s=rate, trouble=trouble), _instant(beat_at)

    def _first_failed(self) -> tuple[FailedRow, ...]:
        found = self._do(
            "SELECT id, job_id, job_type, topic, reason, tries, enqueued_at FROM {t} WHERE tries > 0 "
            f"ORDER BY id LIMIT {MOST_FAILED}"
        )
        return tuple(
            FailedRow(id=row_id, job_id=job, job_type=kind, topic=topic, reason=reason, tries=tries, since=_instant(at))
            for row_id, job, kind, topic, reason, tries, at in found.fetchall()
        )

    def retry(self) -> int:
        """See OutboxTable."""
        long_ago = self._as_column(datetime(1970, 1, 1, tzinfo=UTC))
        return int(self._do("UPDATE {t} SET aside_at = {m} WHERE tries > 0", long_ago).rowcount)

    def count_failed(self, before: datetime) -> int:
        """See OutboxTable."""
        sql = "SELECT count(*) FROM {t} WHERE tries > 0 AND enqueued_at < {m}"
        return int(self._do(sql, self._as_column(before)).fetchone()[0])

    def prune_failed(self, before: datetime) -> int:
        """See OutboxTable."""
        return int(self._do("DELETE FROM {t} WHERE tries > 0 AND enqueued_at < {m}", self._as_column(before)).rowcount)

    def _do(self, sql: str, *values: object) -> Any:
        return self._run(sql.format(**self._words), *values)


def _some(condition: str) -> str:
    return f"SELECT 1 FROM {{t}} WHERE {condition} LIMIT {MOST_LOOKED_AT}"


def _instant(at: datetime | str) -> datetime:
    return (datetime.fromisoformat(at) if isinstance(at, str) else at).astimezone(UTC)
