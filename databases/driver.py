"""The calls that Stoker makes of a database driver, and how one piece of code serves sync and async drivers alike.

A driver's methods are coroutines. Those of a sync driver never wait, so `run_at_once` runs them to their end without an
event loop; those of an async driver are awaited. `settled` lets one line call either.

Who ends the transaction: a `with` block of the driver's own that encloses Stoker's (`with connection.transaction()` of
psycopg, any transaction of asyncpg, `with connection.begin()` of SQLAlchemy) ends it, and Stoker's block is a savepoint
in it. In any other case Stoker's block does, also where the driver has begun a transaction by itself before.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Coroutine, Sequence
from typing import Any, ClassVar, Final, TypeAlias, TypeVar, cast

from .sql import Dialect, Marker

T = TypeVar("T")

Row: TypeAlias = tuple[Any, ...]
"""A row's values. The statement decides their types, which no driver knows."""
SyncOrAsync: TypeAlias = Any
"""A driver's object of its sync or its async kind, which have the same methods and no type in common."""

_TABLE_UNDEFINED: Final = "42P01"


class Driver(ABC):
    """One connection, for one block.

    Attributes:
        marker: how values are marked in statements.
        dialect: the database's.
        is_async: whether the methods may only be awaited.
        is_own: whether `begin` has begun the transaction, so that nothing else is in it.
        is_enclosed: whether a block of the caller's ends the transaction; known once the block has ended.
    """

    marker: ClassVar[Marker]
    dialect: Dialect = "postgresql"
    is_async: bool = False
    is_own: bool = True
    is_enclosed: bool = False

    @abstractmethod
    async def begin(self) -> None:
        """Open a transaction, or a savepoint in the one that is open.

        Raises:
            DatabaseError: the connection is of no use.
        """

    @abstractmethod
    async def join(self) -> None:
        """Make sure that the next statement is in a transaction that the caller ends; changes nothing.

        Raises:
            NoTransaction: each statement would be committed at once.
            DatabaseError: the connection is of no use.
        """

    @abstractmethod
    async def execute(self, sql: str, values: Sequence[object]) -> int:
        """Run a statement; returns how many rows it touched."""

    @abstractmethod
    async def fetch(self, sql: str, values: Sequence[object]) -> Row | None:
        """Run a query; returns its first row."""

    @abstractmethod
    async def commit(self) -> None:
        """End the block: its writes are durable, or as durable as the enclosing block will make them."""

    @abstractmethod
    async def rollback(self, error: BaseException) -> None:
        """Undo the block's writes, and whatever else is in the transaction unless the caller's own block ends it."""


def run_at_once(coroutine: Coroutine[object, None, T]) -> T:
    """Run a sync driver's coroutine, which has nothing to wait for."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return cast(T, end.value)
    coroutine.close()
    raise RuntimeError("a sync driver waited")


async def settled(value: Awaitable[T] | T) -> T:
    """The value, awaited where it is to be awaited."""
    return cast(T, await value if inspect.isawaitable(value) else value)


def sql_state(error: BaseException) -> str | None:
    """The SQLSTATE of a driver's error, SQLAlchemy's wrapping or not."""
    for known in (error, getattr(error, "orig", None)):
        for name in ("sqlstate", "pgcode"):
            if isinstance(state := getattr(known, name, None), str):
                return state
    return None


def is_table_missing(error: BaseException) -> bool:
    """Whether a driver's error means that a table does not exist, for either database."""
    return sql_state(error) == _TABLE_UNDEFINED or "no such table" in str(error)
