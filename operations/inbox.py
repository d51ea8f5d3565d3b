"""Creating, looking at and pruning an inbox's table from outside of any job, by the database's URL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol

from ..consumers.inbox import DEFAULT_TABLE, Dialect, InboxTableMissing, table_ddl
from ..databases import quoted, table_parts
from ..databases.url import dialect_of, explained_errors, open_database

BATCH_ROWS: Final = 5_000


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueRows:
    """The rows of one queue in an inbox.

    Attributes:
        queue: `<namespace>.<queue>`.
        oldest, newest: when the first and the last of its jobs entered their blocks.
    """

    queue: str
    rows: int
    oldest: datetime
    newest: datetime


class _Connection(Protocol):
    """The common part of psycopg's connections and sqlite3's."""

    def execute(self, query: Any, params: Any = ..., /) -> Any: ...

    def commit(self) -> None: ...


@dataclass(frozen=True, slots=True)
class InboxTable:
    """An inbox's table on an open connection; `open_table` explains the driver's errors."""

    connection: _Connection
    dialect: Dialect
    name: str

    def create(self) -> None:
        """Create the table and its index, which changes nothing where they are there."""
        for statement in filter(str.strip, table_ddl(self.dialect, self.name).split(";")):
            self._run(statement)
        self.connection.commit()

    def status(self) -> list[QueueRows]:
        """Count the rows, by queue."""
        sql = (
            f"SELECT queue, count(*), min(done_at), max(done_at) FROM {quoted(self.name)} GROUP BY queue ORDER BY queue"
        )
        return [
            QueueRows(queue=queue, rows=rows, oldest=_instant(oldest), newest=_instant(newest))
            for queue, rows, oldest, newest in self._run(sql).fetchall()
        ]

    def count_older(self, than: datetime) -> int:
        """How many rows a prune would delete."""
        sql = f"SELECT count(*) FROM {quoted(self.name)} WHERE done_at < {self._mark}"
        return int(self._run(sql, self._stored(than)).fetchone()[0])

    def prune(self, older_than: datetime, batch_rows: int = BATCH_ROWS) -> Iterator[int]:
        """Delete rows in batches, each a transaction of its own, so that no worker waits long; returns their sizes."""
        row, name = ("ctid" if self.dialect == "postgresql" else "rowid"), quoted(self.name)
        old = f"SELECT {row} FROM {name} WHERE done_at < {self._mark} LIMIT {batch_rows:d}"
        found = f"= ANY(ARRAY({old}))" if self.dialect == "postgresql" else f"IN ({old})"
        deleted = batch_rows
        while deleted >= batch_rows:
            deleted = int(self._run(f"DELETE FROM {name} WHERE {row} {found}", self._stored(older_than)).rowcount)
            self.connection.commit()
            if deleted:
                yield deleted

    def _run(self, sql: str, *values: object) -> Any:
        return self.connection.execute(sql, values)

    @property
    def _mark(self) -> str:
        return "%s" if self.dialect == "postgresql" else "?"

    def _stored(self, instant: datetime) -> object:
        """An instant as the column holds it."""
        return instant if self.dialect == "postgresql" else f"{instant.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z"


@contextmanager
def open_table(url: str, table: str = DEFAULT_TABLE) -> Iterator[InboxTable]:
    """Connect to the database that holds, or shall hold, an inbox.

    Args:
        url: `postgresql://user:password@host/database`, or `sqlite:///path` (`sqlite:////path` from the root).
        table: `table` or `schema.table`.

    Raises:
        DatabaseUrlInvalid: the URL is of no use; it is not in the message, since it may hold a password.
        DatabaseDriverMissing: psycopg is not installed.
        DatabaseUnreachable: the database does not answer, or refuses the connection.
        InboxTableMissing: there is no such table.
        DatabaseRefused: the database refused a statement.
        InvalidTableName: a table cannot be called so.
    """
    table_parts(table)
    dialect = dialect_of(url)
    with closing(open_database(url)) as connection, explained_errors(dialect, "inbox", table, InboxTableMissing):
        yield InboxTable(connection, dialect, table)


def create_inbox(url: str, table: str = DEFAULT_TABLE) -> None:
    """Create an inbox's table, if it is not there; raises as `open_table` does."""
    with open_table(url, table) as inbox:
        inbox.create()


def prune_inbox(url: str, older_than: timedelta, table: str = DEFAULT_TABLE) -> int:
    """Forget the jobs that were done longer ago, and return how many; raises as `open_table` and `prune` do.

    A job that is delivered or enqueued once more after that runs once more. So `older_than` must exceed the longest
    time for which a topic keeps the jobs, and that in which callers repeat an idempotency key.
    """
    with open_table(url, table) as inbox:
        return sum(inbox.prune(datetime.now(UTC) - older_than))


def _instant(at: datetime | str) -> datetime:
    return (datetime.fromisoformat(at) if isinstance(at, str) else at).astimezone(UTC)
