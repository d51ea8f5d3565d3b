"""The outbox's table on SQLite: a lease in a row chooses the relay that works, and it looks for rows by the clock."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

from ..errors import OutboxTableMissing
from ..sql import table_parts
from ..url import open_database
from .queries import SqlOutbox
from .rows import Beat
from .table import relay_table, table_statements

LOOK_EVERY_S: Final = 0.02
LEASE_S: Final = 5.0
"""How long another relay waits for a sign of the one that works."""
RENEW_EVERY_S: Final = 1.0


class SqliteOutbox(SqlOutbox):
    """See OutboxTable."""

    _MARK = "?"
    _COLUMNS = (
        "o.id, CAST(o.job_id AS TEXT), CAST(o.job_type AS TEXT), CAST(o.topic AS TEXT), CAST(o.partition_key AS BLOB), "
        "CAST(o.key AS BLOB), CAST(o.headers AS TEXT), CAST(o.value AS BLOB), o.tries"
    )
    """Cast, since SQLite keeps values of any type in any column."""
    _NOW = "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')"
    _AGO = "strftime('%Y-%m-%dT%H:%M:%fZ', 'now', -? || ' seconds')"

    def __init__(self, url: str, table: str) -> None:
        super().__init__(table)
        self._connection: sqlite3.Connection = open_database(url, autocommit=True)
        # Another program's text may be none that UTF-8 has: it must not keep the rows beside it from being read.
        self._connection.text_factory = partial(str, encoding="utf-8", errors="backslashreplace")
        self._renewed_at_s = float("-inf")

    def _run(self, sql: str, *values: object) -> Any:
        return self._connection.execute(sql, values)

    def _in(self, column: str) -> str:
        return f"{column} IN (SELECT value FROM json_each({self._MARK}))"

    def _set(self, members: Iterable[int] | Iterable[str]) -> object:
        return json.dumps(list(members))

    def _as_column(self, instant: datetime) -> object:
        return f"{instant.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z"

    def _size_bytes(self) -> int | None:
        return None

    def create(self) -> None:
        """See OutboxTable."""
        for statement in table_statements("sqlite", self.name):
            self._run(statement)

    def prepare(self) -> None:
        """See OutboxTable."""
        schema, name = table_parts(relay_table(self.name))
        master = "sqlite_master" if schema is None else f'"{schema}".sqlite_master'
        if self._run(f"SELECT 1 FROM {master} WHERE type = 'table' AND name = ?", name).fetchone() is None:
            raise OutboxTableMissing(self.name)

    def take_lead(self, holder: str) -> bool:
        """See OutboxTable; a lease of the same holder is its own.

        A lease from the future has ended as well: the clock was set back, and its holder has perhaps died before.
        """
        now_s = time.monotonic()
        if now_s - self._renewed_at_s < RENEW_EVERY_S:
            return True
        now, lease = datetime.now(UTC), timedelta(seconds=LEASE_S)
        found = self._do(
            "INSERT INTO {relay} (id, holder, beat_at, published, rate_per_s) VALUES (1, {m}, {now}, 0, 0) "
            "ON CONFLICT (id) DO UPDATE SET holder = excluded.holder, beat_at = excluded.beat_at "
            "WHERE {relay}.holder = excluded.holder OR {relay}.beat_at NOT BETWEEN {m} AND {m}",
            holder,
            self._as_column(now - lease),
            self._as_column(now + lease),
        )
        leads = bool(found.rowcount == 1)
        self._renewed_at_s = now_s if leads else float("-inf")
        return leads

    def give_lead(self, holder: str) -> None:
        """See OutboxTable."""
        self._renewed_at_s = float("-inf")
        long_ago = self._as_column(datetime(1970, 1, 1, tzinfo=UTC))
        self._do("UPDATE {relay} SET beat_at = {m} WHERE holder = {m}", long_ago, holder)

    def note(self, beat: Beat) -> None:
        """See OutboxTable; only of the relay that works, since the row is its lease."""
        self._do(
            "UPDATE {relay} SET beat_at = {now}, published = {m}, rate_per_s = {m}, trouble = {m} WHERE holder = {m}",
            beat.published,
            beat.rate_per_s,
            beat.trouble,
            beat.holder,
        )

    def wait(self, timeout_s: float) -> None:
        """See OutboxTable."""
        time.sleep(min(timeout_s, LOOK_EVERY_S))

    def stay_awake(self) -> None:
        """See OutboxTable; it never sleeps for longer."""

    def close(self) -> None:
        """See OutboxTable."""
        self._connection.close()
