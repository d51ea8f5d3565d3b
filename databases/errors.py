"""Errors of connections, transactions and tables: a class for each one that a caller treats differently.

DatabaseError
    UnsupportedConnection    not a connection of a driver that is known
    WrongBlock               `with` where `async with` is due, or the other way round
    ConnectionClosed
    TransactionAborted       a statement failed in the caller's transaction before the block
    TransactionEnded         the block's own code ended its transaction
    AutocommitConnection     each statement would be a transaction of its own
    NoTransaction            none is open that the caller will commit
    InvalidTableName
    OutboxTableMissing       of the outbox and its relay
    DatabaseUrlInvalid       of commands, which open a database by its URL
    DatabaseDriverMissing    the same
    DatabaseUnreachable      the same
    DatabaseRefused          the same

The inbox has errors of its own beside its code (`consumers/inbox/errors.py`). They are DatabaseErrors too.
"""

from __future__ import annotations

from typing import Final

_SUPPORTED: Final = (
    "give it an open connection of psycopg 3 (sync or async), asyncpg, SQLAlchemy (Connection, Session, "
    "AsyncConnection, AsyncSession; PostgreSQL or SQLite), sqlite3 or aiosqlite"
)


class DatabaseError(Exception):
    """Root of what may go wrong around a user's database."""


class UnsupportedConnection(DatabaseError, TypeError):
    """The object that was given is no connection that Stoker can use."""

    def __init__(self, connection: object, hint: str = "") -> None:
        kind = f"{type(connection).__module__}.{type(connection).__qualname__}"
        super().__init__(f"Stoker cannot use a {kind} as a connection: {hint or _SUPPORTED}")


class WrongBlock(DatabaseError, TypeError):
    """`with` around an async connection, or `async with` around a sync one."""

    def __init__(self, connection: object, *, is_async: bool) -> None:
        kind = f"{type(connection).__module__}.{type(connection).__qualname__}"
        mode, wanted = ("an async", "async with") if is_async else ("a sync", "with")
        super().__init__(f"a {kind} is {mode} connection, so the block did not begin: open it with `{wanted}`")


class ConnectionClosed(DatabaseError):
    """The connection is closed; nothing was sent."""

    def __init__(self) -> None:
        super().__init__("the connection is closed, so nothing was sent; open one before the block, and close it after")


class TransactionAborted(DatabaseError):
    """A statement before the block has failed, so the database refuses everything until a rollback."""

    def __init__(self) -> None:
        super().__init__(
            "a statement failed in the connection's transaction before the block, so the database refuses all others; "
            "roll the transaction back before the block, or let that error end the job"
        )


class TransactionEnded(DatabaseError):
    """The block's own code has committed or rolled back, so that its writes are no longer in one transaction."""

    def __init__(self) -> None:
        super().__init__(
            "the code inside the block has ended its transaction, so the block's writes are not one transaction; "
            "leave commit and rollback to the block (sqlite3's executescript() commits as well)"
        )


class AutocommitConnection(DatabaseError):
    """The connection commits each statement on its own, and Stoker cannot change that."""

    def __init__(self) -> None:
        super().__init__(
            "this SQLAlchemy connection is in AUTOCOMMIT mode, so the block's writes cannot be one transaction; "
            "take a connection of another isolation level"
        )


class NoTransaction(DatabaseError):
    """No transaction is open, so what is written would be committed at once, whatever becomes of the rest."""

    def __init__(self, remedy: str) -> None:
        super().__init__(
            "no transaction is open on this connection, so the job would be committed on its own, whatever becomes of "
            f"your other writes; {remedy}"
        )


class DatabaseUrlInvalid(DatabaseError, ValueError):
    """The URL names no database that Stoker can use."""


class DatabaseDriverMissing(DatabaseError, RuntimeError):
    """Commands and the relay reach PostgreSQL through psycopg, which is not installed."""

    def __init__(self) -> None:
        super().__init__(
            "Stoker reaches PostgreSQL by its URL through psycopg: pip install 'stoker[inbox-postgres]', "
            "or let `stoker inbox create --print` print the statements for your migrations"
        )


class DatabaseUnreachable(DatabaseError, RuntimeError):
    """No connection to the database came about."""


class DatabaseRefused(DatabaseError, RuntimeError):
    """The database refused a statement: a right or a schema is missing, or the table is of another shape."""


class OutboxTableMissing(DatabaseError):
    """The database has no outbox of that name."""

    def __init__(self, table: str) -> None:
        option = "" if table == "stoker_outbox" else f" --table {table}"
        super().__init__(
            f"the database has no table {table!r}: create it with `stoker outbox create{option} --url …`, "
            f"or put the output of `stoker outbox create{option} --print` into your migrations"
        )
        self.table = table


class InvalidTableName(DatabaseError, ValueError):
    """A table cannot be called so."""

    def __init__(self, table: str, longest: int) -> None:
        super().__init__(
            f"{table!r} cannot name a table of Stoker: use `table` or `schema.table`, of letters, digits and '_', "
            f"each part beginning with no digit and of at most {longest} characters"
        )
        self.table, self.longest = table, longest
