"""psycopg 3, sync and async."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from .driver import Driver, Row, SyncOrAsync, settled
from .errors import ConnectionClosed, NoTransaction, TransactionAborted


class PsycopgDriver(Driver):
    """A `psycopg.Connection` or `psycopg.AsyncConnection`, in whatever mode of autocommit."""

    marker = "%s"

    def __init__(self, connection: psycopg.Connection[Row] | psycopg.AsyncConnection[Row]) -> None:
        self._connection = connection
        self._block: SyncOrAsync = None
        self.is_async = isinstance(connection, psycopg.AsyncConnection)

    def _status(self) -> TransactionStatus:
        if self._connection.closed:
            raise ConnectionClosed
        status = self._connection.info.transaction_status
        if status is TransactionStatus.INERROR:
            raise TransactionAborted
        return status

    async def join(self) -> None:
        """See Driver; outside of autocommit, psycopg begins a transaction by itself."""
        if self._status() is not TransactionStatus.INTRANS and self._connection.autocommit:
            raise NoTransaction("this connection is in autocommit mode: use `with connection.transaction():`")

    async def begin(self) -> None:
        """Open a block of psycopg's, in which it refuses a commit by the body."""
        self.is_own = self._status() is not TransactionStatus.INTRANS
        block = self._connection.transaction()
        await settled(block.__aenter__() if self.is_async else block.__enter__())  # type: ignore[union-attr]
        self._block = block

    async def execute(self, sql: str, values: Sequence[object]) -> int:
        """Run a statement."""
        return int((await self._run(sql, values)).rowcount)

    async def fetch(self, sql: str, values: Sequence[object]) -> Row | None:
        """Run a query."""
        row: Row | None = await settled((await self._run(sql, values)).fetchone())
        return row

    async def _run(self, sql: str, values: Sequence[object]) -> SyncOrAsync:
        """With a plain cursor, since the connection's own may be of any kind."""
        cursor: SyncOrAsync
        if isinstance(self._connection, psycopg.AsyncConnection):
            cursor = psycopg.AsyncCursor(self._connection, row_factory=tuple_row)
        else:
            cursor = psycopg.Cursor(self._connection, row_factory=tuple_row)
        return await settled(cursor.execute(sql, values))

    async def commit(self) -> None:
        """End the block, and the transaction if psycopg had begun one by itself."""
        await self._leave(None)
        if not self.is_own:
            await self._end(self._connection.commit)

    async def rollback(self, error: BaseException) -> None:
        """Undo the block, and the transaction if psycopg had begun one by itself."""
        await self._leave(error)
        if not self.is_own and not self._connection.closed:
            await self._end(self._connection.rollback)

    async def _leave(self, error: BaseException | None) -> None:
        block, self._block = self._block, None
        if block is None:  # it has ended in a failed commit
            return
        what = (None, None, None) if error is None else (type(error), error, error.__traceback__)
        await settled(block.__aexit__(*what) if self.is_async else block.__exit__(*what))

    async def _end(self, end: Callable[[], Awaitable[None] | None]) -> None:
        """Commit or roll back; inside of a block of the caller's, psycopg refuses that before it sends anything."""
        try:
            await settled(end())
        except psycopg.ProgrammingError as refused:
            if refused.sqlstate is not None:
                raise
            self.is_enclosed = True
