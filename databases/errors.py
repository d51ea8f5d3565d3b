"""What may go wrong with a connection, a transaction or a table, a class for each thing that a caller does differently.

DatabaseError
    UnsupportedConnection    not a connection of a driver that is known
    WrongBlock               `with` where `async with` is due, or the other way round
    ConnectionClosed
    TransactionAborted       a statement failed in the caller's transaction before the block
    TransactionEnded         the block's own code ended its transaction
    AutocommitConnection     each statement would be a transaction of its own
    InvalidTableName

Each table of Stoker has errors of its own beside the code that uses the table. They are DatabaseErrors too.
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
    """What was given is no connection that Stoker can use."""

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


class InvalidTableName(DatabaseError, ValueError):
    """A table cannot be called so."""

    def __init__(self, table: str, longest: int) -> None:
        super().__init__(
            f"{table!r} cannot name a table of Stoker: use `table` or `schema.table`, of letters, digits and '_', "
            f"each part beginning with no digit and of at most {longest} characters"
        )
        self.table, self.longest = table, longest
