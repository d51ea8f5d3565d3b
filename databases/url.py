"""Opens a database by its URL, for commands and for the outbox's relay; the URL itself is never shown."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from .driver import is_table_missing
from .errors import DatabaseDriverMissing, DatabaseRefused, DatabaseUnreachable, DatabaseUrlInvalid
from .sql import Dialect

CONNECT_TIMEOUT_S: Final = 10
SILENCE_S: Final = 20
"""How long a server may leave unanswered what it was sent, before its connection counts as lost."""
_WAITS: Final = {
    "connect_timeout": CONNECT_TIMEOUT_S,
    # Where its machine vanishes, Linux goes on sending for a quarter of an hour, and nothing else ends a statement.
    "tcp_user_timeout": SILENCE_S * 1_000,
    "keepalives_idle": SILENCE_S // 2,
    "keepalives_interval": SILENCE_S // 4,
    "keepalives_count": 2,
}
"""libpq's options of its waits; those in the URL win."""
_POSTGRESQL_SCHEMES: Final = frozenset({"postgresql", "postgres"})
_HIDDEN: Final = "[hidden]"


def dialect_of(url: str) -> Dialect:
    """Which database a URL is of.

    Raises:
        DatabaseUrlInvalid: neither PostgreSQL nor SQLite.
    """
    scheme = url.partition(":")[0].partition("+")[0].lower()
    if scheme in _POSTGRESQL_SCHEMES:
        return "postgresql"
    if scheme == "sqlite":
        return "sqlite"
    raise DatabaseUrlInvalid("the database's URL must begin with postgresql:// or sqlite:/// (it is not shown here)")


def open_postgresql(url: str, *, autocommit: bool = False) -> Any:  # a psycopg.Connection, which may not be installed
    """Connect through psycopg.

    Raises:
        DatabaseUrlInvalid: the URL is of no use; it is not in the message, since it may hold a password.
        DatabaseDriverMissing: psycopg is not installed.
        DatabaseUnreachable: the database does not answer, or refuses the connection.
    """
    try:
        import psycopg  # an optional extra
        from psycopg.conninfo import conninfo_to_dict
    except ImportError as missing:
        raise DatabaseDriverMissing from missing
    scheme, _, rest = url.partition(":")
    try:
        plain = f"postgresql:{rest}"
        password = urlsplit(plain).password or ""
        # Of a database without an encoding (SQL_ASCII), psycopg would give bytes for text.
        options: dict[str, Any] = {**_WAITS, **conninfo_to_dict(plain), "client_encoding": "UTF8"}
        return psycopg.connect(**options, autocommit=autocommit)
    except (psycopg.ProgrammingError, ValueError):  # their words quote the URL, so they go no further
        raise DatabaseUrlInvalid(
            f"the {scheme} URL cannot be read (it is not shown here); write postgresql://user:password@host:port/name"
        ) from None
    except psycopg.OperationalError as refused:
        reason = _without(str(refused), password).rstrip()
        raise DatabaseUnreachable(f"PostgreSQL cannot be reached: {reason}; check the URL, and that it runs") from None


def open_sqlite(url: str) -> sqlite3.Connection:
    """Open the file that a URL names; raises as `open_postgresql`."""
    path = Path(unquote(urlsplit(url).path.removeprefix("/")))
    if not path.name:
        raise DatabaseUrlInvalid("the SQLite URL names no file: write sqlite:///path, or sqlite:////path from the root")
    try:
        return sqlite3.connect(path, timeout=CONNECT_TIMEOUT_S)
    except sqlite3.OperationalError as refused:
        raise DatabaseUnreachable(
            f"{path} cannot be opened: {refused}; check the path and its permissions"
        ) from refused


def open_database(url: str, *, autocommit: bool = False) -> Any:  # a connection of psycopg's or sqlite3's
    """Connect to the database that a URL names; raises as `open_postgresql`."""
    if dialect_of(url) == "postgresql":
        return open_postgresql(url, autocommit=autocommit)
    connection = open_sqlite(url)
    if autocommit:
        connection.isolation_level = None
    return connection


@contextmanager
def explained_errors(dialect: Dialect, kind: str, table: str, missing: Callable[[str], Exception]) -> Iterator[None]:
    """Raise errors of the driver's as errors that a command explains.

    Args:
        kind: whose table it is, such as `outbox`; `stoker <kind> create` creates it.
        missing: the error for a table that is not there.

    Raises:
        DatabaseRefused: a right or the schema is missing, or the table is of another shape.
    """
    try:
        yield
    except database_errors(dialect) as error:
        if is_table_missing(error):
            raise missing(table) from error
        reason = str(error).strip().partition("\n")[0]  # without the statement, and a mark below its place
        raise DatabaseRefused(
            f"the database refused a statement on the {kind} {table}: {reason}. Grant the right, "
            f"or create the schema or table that is missing (`stoker {kind} create`)"
        ) from error


def database_errors(dialect: Dialect) -> type[Exception]:
    """The root of what the driver of these connections raises."""
    if dialect == "sqlite":
        return sqlite3.Error
    import psycopg  # an optional extra

    return psycopg.Error


def _without(text: str, password: str) -> str:
    for secret in {password, unquote(password)} - {""}:
        text = text.replace(secret, _HIDDEN)
    return text.strip()
