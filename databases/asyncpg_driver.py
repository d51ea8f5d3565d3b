"""asyncpg: a connection, also one that a pool has lent."""

from __future__ import annotations

from collections.abc import Sequence

from .driver import Driver, Row, SyncOrAsync
from .errors import ConnectionClosed, NoTransaction

_SAVEPOINT = "stoker_inbox"


class AsyncpgDriver(Driver):
    """A connection without a transaction gets one; in an open one, which the caller ends, the inbox is a savepoint."""

    marker = "$n"
    is_async = True

    def __init__(self, connection: SyncOrAsync) -> None:  # a connection, or a pool's proxy of one
        self._connection = connection
        self._transaction: SyncOrAsync = None

    async def join(self) -> None:
        """See Driver."""
        if self._connection.is_closed():
            raise ConnectionClosed
        if not self._connection.is_in_transaction():
            raise NoTransaction("use `async with connection.transaction():`")

    async def begin(self) -> None:
        """Begin a transaction, or set a savepoint by hand, since the caller's transaction may be begun by hand."""
        if self._connection.is_closed():
            raise ConnectionClosed
        self.is_enclosed = self._connection.is_in_transaction()
        self.is_own = not self.is_enclosed
        if self.is_enclosed:
            await self._connection.execute(f"SAVEPOINT {_SAVEPOINT}")
        else:
            self._transaction = self._connection.transaction()
            await self._start()

    async def _start(self) -> None:
        """Begin the transaction; where that is cancelled, the server has perhaps begun it.

        Left open, it would count as the caller's at the next entry, and nobody would commit what is done in it.
        """
        connection = self._transaction._connection
        try:
            await self._transaction.start()
        except BaseException:
            # A private name: asyncpg has no way to end what it has failed to start.
            if connection._top_xact is self._transaction and not connection.is_closed():
                connection._top_xact = None
                await connection.execute("ROLLBACK")
            raise

    async def execute(self, sql: str, values: Sequence[object]) -> int:
        """Run a statement; asyncpg gives its tag, such as `INSERT 0 1`."""
        return int((await self._connection.execute(sql, *values)).rpartition(" ")[2])

    async def fetch(self, sql: str, values: Sequence[object]) -> Row | None:
        """Run a query."""
        row = await self._connection.fetchrow(sql, *values)
        return None if row is None else tuple(row)

    async def commit(self) -> None:
        """Commit, or leave it to the caller."""
        if self.is_enclosed:
            await self._connection.execute(f"RELEASE SAVEPOINT {_SAVEPOINT}")
        else:
            transaction, self._transaction = self._transaction, None
            await transaction.commit()

    async def rollback(self, error: BaseException) -> None:
        """Roll back, or as far as the block reaches; what is broken was rolled back by the server."""
        if self._connection.is_closed() or not self._connection.is_in_transaction():
            return
        if self.is_enclosed:
            await self._connection.execute(f"ROLLBACK TO SAVEPOINT {_SAVEPOINT}")
        elif self._transaction is not None:
            await self._transaction.rollback()
        else:  # its commit was cancelled, after which asyncpg does not end it
            await self._connection.execute("ROLLBACK")
