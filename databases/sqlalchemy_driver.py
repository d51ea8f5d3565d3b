"""SQLAlchemy 2: Connection and Session, AsyncConnection and AsyncSession, on PostgreSQL or SQLite.

The async kinds run the sync kinds' calls in `run_sync`, as SQLAlchemy itself does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeVar

from sqlalchemy import Connection, RootTransaction, text
from sqlalchemy.exc import ResourceClosedError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, async_scoped_session
from sqlalchemy.orm import Session, SessionTransaction, scoped_session

from .driver import Driver, Row, SyncOrAsync, settled
from .errors import (
    AutocommitConnection,
    ConnectionClosed,
    TransactionAborted,
    TransactionEnded,
    UnsupportedConnection,
)

T = TypeVar("T")
Subject = Connection | Session


class SqlAlchemyDriver(Driver):
    """One of SQLAlchemy's ways to a database; which one, `begin` finds out."""

    marker = ":pn"

    def __init__(self, given: SyncOrAsync) -> None:
        self._given = given() if isinstance(given, scoped_session | async_scoped_session) else given
        self.is_async = isinstance(self._given, AsyncConnection | AsyncSession)
        self._block: SyncOrAsync = None

    async def _call(self, act: Callable[[Subject], T]) -> T:
        """Call something with the sync connection or session, in SQLAlchemy's greenlet where need be."""
        given = self._given
        answer: Awaitable[T] | T = given.run_sync(act) if self.is_async else act(given)
        return await settled(answer)

    async def join(self) -> None:
        """See Driver; SQLAlchemy begins a transaction by itself, unless it is in AUTOCOMMIT mode."""
        try:
            await self._call(self._join)
        except ResourceClosedError as refused:
            raise ConnectionClosed from refused

    def _join(self, subject: Subject) -> None:
        transaction = self._usable_transaction(subject)
        if isinstance(subject, Session) and transaction is None:
            subject.begin()
        connection = _connection(subject)
        driver: SyncOrAsync = connection.connection.driver_connection
        if not self._is_sqlite(connection):
            return
        if not driver.in_transaction and driver.isolation_level is None:
            raise AutocommitConnection

    async def begin(self) -> None:
        """Open a block of SQLAlchemy's: a transaction, or a savepoint in the one that is open."""
        try:
            await self._call(self._begin)
        except ResourceClosedError as refused:
            raise ConnectionClosed from refused

    def _begin(self, subject: Subject) -> None:
        self._usable_transaction(subject)
        # A private name, because there is no public one: a test fails where it is gone.
        self.is_enclosed = subject._trans_context_manager is not None
        self.is_own = not subject.in_transaction()
        if self.is_own:
            self._enter(subject.begin())
        try:
            self._prepare(_connection(subject))
        except BaseException as error:
            self._leave(error)
            raise
        if not self.is_own:
            self._enter(subject.begin_nested())

    def _usable_transaction(self, subject: Subject) -> RootTransaction | SessionTransaction | None:
        if isinstance(subject, Connection) and subject.closed:
            raise ConnectionClosed
        transaction = subject.get_transaction()
        if transaction is not None and not transaction.is_active:
            raise TransactionAborted
        return transaction

    def _enter(self, block: AbstractContextManager[object]) -> None:
        block.__enter__()
        self._block = block

    def _leave(self, error: BaseException | None) -> None:
        block, self._block = self._block, None
        if block is not None:
            block.__exit__(*((None, None, None) if error is None else (type(error), error, error.__traceback__)))

    def _prepare(self, connection: Connection) -> None:
        """Refuse what cannot keep the guarantee, and let SQLite wait for its lock at the entry."""
        driver: SyncOrAsync = connection.connection.driver_connection
        if self._is_sqlite(connection) and not driver.in_transaction:
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    def _is_sqlite(self, connection: Connection) -> bool:
        """Note the dialect, and refuse others and AUTOCOMMIT mode."""
        name = connection.dialect.name
        if name == "sqlite":
            self.dialect = "sqlite"
            return True
        if name != "postgresql":
            raise UnsupportedConnection(self._given, f"its database is {name}, not PostgreSQL or SQLite")
        if getattr(connection.connection.dbapi_connection, "autocommit", False) is True:
            raise AutocommitConnection
        return False

    async def execute(self, sql: str, values: Sequence[object]) -> int:
        """Run a statement."""
        return await self._call(lambda subject: int(_run(subject, sql, values).rowcount))

    async def fetch(self, sql: str, values: Sequence[object]) -> Row | None:
        """Run a query."""
        row = await self._call(lambda subject: _run(subject, sql, values).first())
        return None if row is None else tuple(row)

    async def commit(self) -> None:
        """End the block, and the transaction if SQLAlchemy had begun one by itself."""
        if not self._block.is_active:
            raise TransactionEnded
        await self._call(self._commit)

    def _commit(self, subject: Subject) -> None:
        self._leave(None)
        if not self.is_own and not self.is_enclosed:
            subject.commit()

    async def rollback(self, error: BaseException) -> None:
        """Undo the block, and the transaction if SQLAlchemy had begun one by itself."""
        await self._call(lambda subject: self._rollback(subject, error))

    def _rollback(self, subject: Subject, error: BaseException) -> None:
        self._leave(error)
        if not self.is_own and not self.is_enclosed:
            subject.rollback()


def _connection(subject: Subject) -> Connection:
    return subject if isinstance(subject, Connection) else subject.connection()


def _run(subject: Subject, sql: str, values: Sequence[object]) -> Any:  # a session types it without its rowcount
    return subject.execute(text(sql), {f"p{number}": value for number, value in enumerate(values, 1)})
