"""Django: `django.db.connection`, or one of `django.db.connections`, on PostgreSQL or SQLite."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

from .driver import Driver, Row, SyncOrAsync
from .errors import NoTransaction, TransactionAborted, UnsupportedConnection


class DjangoDriver(Driver):
    """Writes with the statements of the caller's own transaction; an inbox has to take the driver's connection."""

    marker = "%s"

    def __init__(self, connection: SyncOrAsync) -> None:  # a DatabaseWrapper, or the proxy of the default one
        self._connection = connection

    async def join(self) -> None:
        """See Driver."""
        vendor = self._connection.vendor
        if vendor not in {"postgresql", "sqlite"}:
            raise UnsupportedConnection(self._connection, f"its database is {vendor}, not PostgreSQL or SQLite")
        self.dialect = vendor
        if self._connection.needs_rollback:
            raise TransactionAborted
        if self._connection.get_autocommit():
            raise NoTransaction("enqueue inside `with transaction.atomic():`")

    async def execute(self, sql: str, values: Sequence[object]) -> int:
        """Run a statement."""
        with self._connection.cursor() as cursor:
            cursor.execute(sql, values)
            return int(cursor.rowcount)

    async def fetch(self, sql: str, values: Sequence[object]) -> Row | None:
        """Run a query."""
        with self._connection.cursor() as cursor:
            cursor.execute(sql, values)
            row: tuple[Any, ...] | None = cursor.fetchone()
            return row

    async def begin(self) -> NoReturn:
        """Refuse: Django's atomic blocks end the transaction in their own way."""
        raise UnsupportedConnection(self._connection, "give it the driver's own connection, or one made for the job")

    async def commit(self) -> NoReturn:
        """Refuse, as `begin`."""
        await self.begin()

    async def rollback(self, error: BaseException) -> NoReturn:
        """Refuse, as `begin`."""
        await self.begin()
