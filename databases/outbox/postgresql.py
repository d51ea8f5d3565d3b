"""The outbox's table on PostgreSQL, through psycopg: advisory locks choose the relay that works, NOTIFY wakes it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final

import psycopg
from psycopg.rows import tuple_row

from ..errors import DatabaseError, DatabaseRefused, OutboxTableMissing
from ..sql import quoted
from ..url import open_database
from .queries import SqlOutbox
from .table import CHANNEL, LEAD_LOCK, SLEEP_LOCK, table_ddl

_LOGGER = logging.getLogger("stoker.outbox")

AWAKE_S: Final = 1.0
"""How long after the last row the relay looks again and again, before it sleeps until it is notified."""
LOOK_EVERY_S: Final = 0.005
SLEEP_S: Final = 0.25
"""How long it sleeps at the most: a transaction that was open when the relay fell asleep may not notify it."""
VACUUM_EVERY: Final = 20_000
"""Deleted rows after which the relay vacuums the table, since autovacuum looks at it once a minute only."""
VACUUM_PAUSES: Final = 10
SMALL_BYTES: Final = 8_000_000
"""A relay that sleeps gives the disk space of a larger table back."""
SHRINK_EVERY_S: Final = 60.0
_SESSION: Final = (
    "SET application_name = 'stoker outbox relay'",
    "SET synchronous_commit = off",  # a lost deletion publishes a row twice, and the ledger runs it once
    "SET enable_seqscan = off",  # the statistics of a table that empties and fills again are never right
    "SET enable_bitmapscan = off",
    "SET tcp_keepalives_idle = 10",  # the lock of a relay whose machine has gone is free after half a minute
    "SET tcp_keepalives_interval = 5",
    "SET tcp_keepalives_count = 3",
)


class PostgresqlOutbox(SqlOutbox):
    """See OutboxTable. A relay that loses its connection loses the lead as well, so all goes through one connection."""

    _MARK = "%s"
    _COLUMNS = "o.id, o.job_id, o.job_type, o.topic, o.partition_key, o.key, CAST(o.headers AS text), o.value, o.tries"
    _NOW = "clock_timestamp()"
    _AGO = "clock_timestamp() - make_interval(secs => %s)"
    _PLACE = "COALESCE(o.place, o.id)"

    def __init__(self, url: str, table: str) -> None:
        super().__init__(table)
        self._url = url
        self._connection: psycopg.Connection[Any] = open_database(url, autocommit=True)
        self._cursor = self._connection.cursor(binary=True, row_factory=tuple_row)
        self._leads = self._sleeps = False
        self._awake_until_at_s = 0.0
        self._deleted = 0
        self._vacuum = threading.Thread()
        self._vacuum_at_s = self._shrink_at_s = 0.0
        self._may_be_large = True

    def _run(self, sql: str, *values: object) -> Any:
        return self._cursor.execute(sql.encode(), values)

    def _in(self, column: str) -> str:
        return f"{column} = ANY({self._MARK})"

    def _set(self, members: Iterable[int] | Iterable[str]) -> object:
        return list(members)

    def _as_column(self, instant: datetime) -> object:
        return instant

    def _size_bytes(self) -> int | None:
        return int(self._run(f"SELECT pg_total_relation_size('{quoted(self.name)}')").fetchone()[0])

    def create(self) -> None:
        """See OutboxTable."""
        self._connection.execute(table_ddl("postgresql", self.name).encode())

    def prepare(self) -> None:
        """See OutboxTable."""
        in_recovery, found = self._run(
            "SELECT pg_is_in_recovery(), to_regclass(%s) IS NOT NULL", quoted(self.name)
        ).fetchone()
        if in_recovery:
            raise DatabaseRefused(
                "this server is a replica, so no row can be deleted; name the primary, or add "
                "?target_session_attrs=read-write to a URL with several hosts"
            )
        if not found:
            raise OutboxTableMissing(self.name)
        for statement in _SESSION:
            self._run(statement)

    def take_lead(self, holder: str) -> bool:
        """See OutboxTable."""
        if not self._leads:
            self._leads = self._try_lock(LEAD_LOCK)
            if self._leads:
                self._run(f"LISTEN {CHANNEL}")
        return self._leads

    def _try_lock(self, lock: int) -> bool:
        sql = f"SELECT pg_try_advisory_lock(%s::int, hashtext('{quoted(self.name)}'::regclass::oid::text))"
        return bool(self._run(sql, lock).fetchone()[0])

    def give_lead(self, holder: str) -> None:
        """See OutboxTable."""
        self._leads = self._sleeps = False
        self._run("SELECT pg_advisory_unlock_all()")

    def delete(self, ids: Sequence[int]) -> None:
        """See OutboxTable."""
        super().delete(ids)
        self._may_be_large = True
        self._deleted += len(ids)
        is_due = self._deleted >= VACUUM_EVERY and time.monotonic() >= self._vacuum_at_s
        if is_due and not self._vacuum.is_alive():
            self._deleted = 0
            self._start_vacuum("TRUNCATE FALSE")

    def _shrink(self) -> None:
        """Give back the disk space of a table that was large; a vacuum lets writers pass while it does so."""
        now_s = time.monotonic()
        if not self._may_be_large or now_s < self._shrink_at_s or self._vacuum.is_alive():
            return
        self._shrink_at_s = now_s + SHRINK_EVERY_S
        (size,) = self._run(f"SELECT pg_relation_size('{quoted(self.name)}')").fetchone()
        self._may_be_large = size > SMALL_BYTES
        if self._may_be_large:
            self._start_vacuum("TRUNCATE TRUE")

    def _start_vacuum(self, option: str) -> None:
        self._vacuum = threading.Thread(target=self._clean, args=(option,), name="stoker-outbox-vacuum", daemon=True)
        self._vacuum.start()

    def _clean(self, option: str) -> None:
        """Vacuum on a connection of its own; who may not only gets a warning of the server's.

        A large table, as after an outage, takes long: it is not vacuumed for more than a tenth of the time.
        """
        began_at_s = time.monotonic()
        try:
            with open_database(self._url, autocommit=True) as connection:
                connection.execute(f"VACUUM (SKIP_LOCKED, {option}, INDEX_CLEANUP ON) {quoted(self.name)}")
        except (DatabaseError, psycopg.Error) as error:
            _LOGGER.debug("outbox %s: not vacuumed: %s", self.name, error)
        took_s = time.monotonic() - began_at_s
        self._vacuum_at_s = began_at_s + VACUUM_PAUSES * took_s

    def wait(self, timeout_s: float) -> None:
        """See OutboxTable.

        Writers notify a relay that sleeps, and only that: a NOTIFY makes transactions commit one after another.
        """
        now_s = time.monotonic()
        if not self._sleeps and now_s < self._awake_until_at_s:
            time.sleep(LOOK_EVERY_S)
            return
        self._shrink()
        if not self._sleeps:
            self._sleeps = self._try_lock(SLEEP_LOCK)  # then the caller looks once more
        elif self._is_notified(min(timeout_s, SLEEP_S)):
            self.stay_awake()

    def _is_notified(self, timeout_s: float) -> bool:
        """Wait for a writer's notification; takes all that psycopg has kept of a burst, each of which would wake it."""
        return bool(list(self._connection.notifies(timeout=timeout_s, stop_after=1)))

    def stay_awake(self) -> None:
        """Note that there are rows: look again soon, and release the lock, so that writers need not notify."""
        self._awake_until_at_s = time.monotonic() + AWAKE_S
        if self._sleeps:
            self._sleeps = False
            self._run(
                f"SELECT pg_advisory_unlock(%s::int, hashtext('{quoted(self.name)}'::regclass::oid::text))", SLEEP_LOCK
            )

    def close(self) -> None:
        """See OutboxTable."""
        self._connection.close()
        if self._vacuum.ident is not None:
            self._vacuum.join(1.0)
