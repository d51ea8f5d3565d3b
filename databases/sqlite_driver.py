"""SQLite: sqlite3 and aiosqlite."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from .driver import Driver, Row, SyncOrAsync, settled
from .errors import ConnectionClosed, NoTransaction, TransactionEnded

_SAVEPOINT = "stoker_inbox"


class SqliteDriver(Driver):
    """A connection in any mode of transaction control; the inbox always commits.

    SQLite lets one writer in at a time. `BEGIN IMMEDIATE` waits for that at the entry, for the connection's `timeout`,
    instead of failing in the middle. The savepoint shows at the end whether the block's code has committed meanwhile.
    """

    marker = "?"
    dialect = "sqlite"

    def __init__(self, connection: SyncOrAsync) -> None:
        self._connection = connection
        self.is_async = not isinstance(connection, sqlite3.Connection)

    async def join(self) -> None:
        """See Driver; in its usual mode sqlite3 begins a transaction by itself."""
        if not self._in_transaction() and self._connection.isolation_level is None:
            raise NoTransaction("execute `BEGIN` first")
        if not self._in_transaction() and await self._must_say():
            raise NoTransaction("execute `BEGIN` first")

    async def begin(self) -> None:
        """Take the lock for writing, and do not keep it where that is cancelled: aiosqlite takes it all the same."""
        is_first = not self._in_transaction()
        try:
            if is_first:
                await self._say("BEGIN IMMEDIATE")
            await self._say(f"SAVEPOINT {_SAVEPOINT}")
        except BaseException as error:
            if is_first:
                await self.rollback(error)
            raise

    def _in_transaction(self) -> bool:
        try:
            return bool(self._connection.in_transaction)
        except (sqlite3.ProgrammingError, ValueError) as refused:  # of sqlite3 and aiosqlite
            raise ConnectionClosed from refused

    async def execute(self, sql: str, values: Sequence[object]) -> int:
        """Run a statement."""
        cursor = await settled(self._connection.execute(sql, values))
        touched = int(cursor.rowcount)
        await settled(cursor.close())
        return touched

    async def fetch(self, sql: str, values: Sequence[object]) -> Row | None:
        """Run a query; with plain rows, whatever kind the connection makes."""
        cursor = await settled(self._connection.cursor())
        cursor.row_factory = None
        await settled(cursor.execute(sql, values))
        row: Row | None = await settled(cursor.fetchone())
        await settled(cursor.close())
        return row

    async def _say(self, sql: str) -> None:
        try:
            await settled((await settled(self._connection.execute(sql))).close())
        except sqlite3.ProgrammingError as refused:
            if "closed" in str(refused):
                raise ConnectionClosed from refused
            raise

    async def commit(self) -> None:
        """Commit."""
        try:
            await self._say(f"RELEASE SAVEPOINT {_SAVEPOINT}")
        except sqlite3.OperationalError as refused:
            if "no such savepoint" in str(refused):
                raise TransactionEnded from refused
            raise
        if await self._must_say():
            await self._say("COMMIT")
        else:
            await settled(self._connection.commit())

    async def rollback(self, error: BaseException) -> None:
        """Undo the whole transaction."""
        if not await self._must_say():
            await settled(self._connection.rollback())
        elif self._in_transaction():
            await self._say("ROLLBACK")

    async def _must_say(self) -> bool:
        """Whether `commit()` and `rollback()` do nothing: so it is with `autocommit=True`, from Python 3.12 on."""
        if not self.is_async:
            return getattr(self._connection, "autocommit", None) is True
        # aiosqlite has no public way to ask, and sqlite3 answers in the connection's own thread only.
        inner = self._connection._conn
        return await self._connection._execute(lambda: getattr(inner, "autocommit", None)) is True
