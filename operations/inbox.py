"""Creating, looking at and pruning an inbox's table from outside of any job, by the database's URL."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import unquote, urlsplit

from ..consumers.inbox import DEFAULT_TABLE, Dialect, InboxTableMissing, table_ddl
from ..databases import is_table_missing, quoted, table_parts

BATCH_ROWS: Final = 5_000
CONNECT_TIMEOUT_S: Final = 10
_POSTGRESQL_SCHEMES: Final = frozenset({"postgresql", "postgres"})
_HIDDEN: Final = "[hidden]"


class InboxUrlInvalid(ValueError):
    """The URL names no database that can hold an inbox."""


class InboxDriverMissing(RuntimeError):
    """The commands reach PostgreSQL through psycopg, which is not installed."""

    def __init__(self) -> None:
        super().__init__(
            "`stoker inbox` reaches PostgreSQL through psycopg: pip install 'stoker[inbox-postgres]', "
            "or let `stoker inbox create --print` print the statements for your migrations"
        )


class InboxUnreachable(RuntimeError):
    """No connection to the database came about."""


class InboxRefused(RuntimeError):
    """The database refused a statement: a right or a schema is missing, or the table is of another shape."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueRows:
    """What an inbox holds of one queue.

    Attributes:
        queue: `<namespace>.<queue>`.
        oldest, newest: when the first and the last of its jobs entered their blocks.
    """

    queue: str
    rows: int
    oldest: datetime
    newest: datetime


class _Connection(Protocol):
    """What psycopg's connections and sqlite3's have in common."""

    def execute(self, query: Any, params: Any = ..., /) -> Any: ...

    def commit(self) -> None: ...


@dataclass(frozen=True, slots=True)
class InboxTable:
    """An inbox's table on an open connection."""

    connection: _Connection
    dialect: Dialect
    name: str

    def create(self) -> None:
        """Create the table and its index, which changes nothing where they are there.

        Raises:
            InboxRefused: a right or the schema is missing.
        """
        for statement in filter(str.strip, table_ddl(self.dialect, self.name).split(";")):
            self._run(statement)
        self.connection.commit()

    def status(self) -> list[QueueRows]:
        """What it holds, by queue.

        Raises:
            InboxTableMissing: there is no such table.
        """
        sql = (
            f"SELECT queue, count(*), min(done_at), max(done_at) FROM {quoted(self.name)} GROUP BY queue ORDER BY queue"
        )
        return [
            QueueRows(queue=queue, rows=rows, oldest=_instant(oldest), newest=_instant(newest))
            for queue, rows, oldest, newest in self._run(sql).fetchall()
        ]

    def count_older(self, than: datetime) -> int:
        """How many rows a prune would delete.

        Raises:
            InboxTableMissing: there is no such table.
        """
        sql = f"SELECT count(*) FROM {quoted(self.name)} WHERE done_at < {self._mark}"
        return int(self._run(sql, self._told(than)).fetchone()[0])

    def prune(self, older_than: datetime, batch_rows: int = BATCH_ROWS) -> Iterator[int]:
        """Delete rows in batches, each a transaction of its own, so that no worker waits long; gives each one's size.

        Raises:
            InboxTableMissing: there is no such table.
        """
        row, name = ("ctid" if self.dialect == "postgresql" else "rowid"), quoted(self.name)
        old = f"SELECT {row} FROM {name} WHERE done_at < {self._mark} LIMIT {batch_rows:d}"
        found = f"= ANY(ARRAY({old}))" if self.dialect == "postgresql" else f"IN ({old})"
        deleted = batch_rows
        while deleted >= batch_rows:
            deleted = int(self._run(f"DELETE FROM {name} WHERE {row} {found}", self._told(older_than)).rowcount)
            self.connection.commit()
            if deleted:
                yield deleted

    def _run(self, sql: str, *values: object) -> Any:
        try:
            return self.connection.execute(sql, values)
        except _database_errors(self.dialect) as error:
            if is_table_missing(error):
                raise InboxTableMissing(self.name) from error
            raise InboxRefused(
                f"the database refused a statement on the inbox {self.name}: {str(error).rstrip()}. Grant the right, "
                "or create the schema or table that is missing (`stoker inbox create`)"
            ) from error

    @property
    def _mark(self) -> str:
        return "%s" if self.dialect == "postgresql" else "?"

    def _told(self, instant: datetime) -> object:
        """An instant as the column holds it."""
        return instant if self.dialect == "postgresql" else f"{instant.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z"


def dialect_of(url: str) -> Dialect:
    """Which database a URL is of.

    Raises:
        InboxUrlInvalid: neither PostgreSQL nor SQLite.
    """
    scheme = url.partition(":")[0].partition("+")[0].lower()
    if scheme in _POSTGRESQL_SCHEMES:
        return "postgresql"
    if scheme == "sqlite":
        return "sqlite"
    raise InboxUrlInvalid("the database's URL must begin with postgresql:// or sqlite:/// (it is not shown here)")


@contextmanager
def open_table(url: str, table: str = DEFAULT_TABLE) -> Iterator[InboxTable]:
    """Connect to the database that holds, or shall hold, an inbox.

    Args:
        url: `postgresql://user:password@host/database`, or `sqlite:///path` (`sqlite:////path` from the root).
        table: `table` or `schema.table`.

    Raises:
        InboxUrlInvalid: the URL is of no use; it is not in the message, since it may hold a password.
        InboxDriverMissing: psycopg is not installed.
        InboxUnreachable: the database does not answer, or lets nobody in.
        InvalidTableName: a table cannot be called so.
    """
    table_parts(table)
    dialect = dialect_of(url)
    connection = _open_postgresql(url) if dialect == "postgresql" else _open_sqlite(url)
    with closing(connection):
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


def _open_postgresql(url: str) -> Any:
    try:
        import psycopg  # an optional extra
    except ImportError as missing:
        raise InboxDriverMissing from missing
    scheme, _, rest = url.partition(":")
    try:
        plain = f"postgresql:{rest}"
        password = urlsplit(plain).password or ""
        return psycopg.connect(plain, connect_timeout=CONNECT_TIMEOUT_S)
    except (psycopg.ProgrammingError, ValueError):  # their words quote the URL, so they go no further
        raise InboxUrlInvalid(
            f"the {scheme} URL cannot be read (it is not shown here); write postgresql://user:password@host:port/name"
        ) from None
    except psycopg.OperationalError as refused:
        reason = _without(str(refused), password).rstrip()
        raise InboxUnreachable(f"PostgreSQL cannot be reached: {reason}; check the URL, and that it runs") from None


def _open_sqlite(url: str) -> sqlite3.Connection:
    path = Path(unquote(urlsplit(url).path.removeprefix("/")))
    if not path.name:
        raise InboxUrlInvalid("the SQLite URL names no file: write sqlite:///path, or sqlite:////path from the root")
    try:
        return sqlite3.connect(path, timeout=CONNECT_TIMEOUT_S)
    except sqlite3.OperationalError as refused:
        raise InboxUnreachable(f"{path} cannot be opened: {refused}; check the path and its permissions") from refused


def _database_errors(dialect: Dialect) -> type[Exception]:
    if dialect == "sqlite":
        return sqlite3.Error
    import psycopg  # an optional extra

    return psycopg.Error


def _without(text: str, password: str) -> str:
    for secret in {password, unquote(password)} - {""}:
        text = text.replace(secret, _HIDDEN)
    return text.strip()


def _instant(at: datetime | str) -> datetime:
    return (datetime.fromisoformat(at) if isinstance(at, str) else at).astimezone(UTC)
