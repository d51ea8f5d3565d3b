"""`Outbox`: puts jobs into a table of the application's database, in the transaction that is their cause."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Iterable
from itertools import islice
from typing import Any, Final, ParamSpec, Protocol, TypeVar, overload

from ...databases import (
    Driver,
    OutboxTableMissing,
    TransactionAborted,
    find_driver,
    is_table_missing,
    run_at_once,
    sql_state,
    table_parts,
)
from ...databases.outbox.table import DEFAULT_TABLE, NewRow, insert_many_statement, insert_statement
from ...schemas import SchemaStore
from ...topology.cluster.settings import ClusterSettings
from ...topology.declaration.job_type import ConfiguredJob, JobCall, JobType
from ...topology.declaration.pipeline import Pipeline
from .rows import RowBuilder

P = ParamSpec("P")
R = TypeVar("R")
A = TypeVar("A")
T = TypeVar("T")

BATCH_ROWS: Final = 500
_TRANSACTION_FAILED: Final = "25P02"


class AsyncConnection(Protocol):
    """A connection or session whose calls are awaited: asyncpg, aiosqlite, psycopg's and SQLAlchemy's async kinds."""

    @property
    def execute(self) -> Callable[..., Awaitable[Any]]: ...


class Outbox:
    """Enqueues the jobs of a pipeline inside the transactions of a database; a relay publishes them afterwards.

    A job exists exactly if its transaction commits. No broker is needed to enqueue. Safe to use from several threads
    and tasks; a connection is not.

    Args:
        pipeline: what may be enqueued.
        cluster: names the Schema Registry, if there is one; None reads that from the environment.
        source: the publishing service, the `source` of CloudEvents, such as `/shop/checkout`.
        store: frames payloads; None takes the registry, if there is one.
        table: `table` or `schema.table`.

    Raises:
        InvalidTableName: the table cannot be called so.
        OptionRefused: the source is none that CloudEvents allow.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        cluster: ClusterSettings | None = None,
        *,
        source: str | None = None,
        store: SchemaStore | None = None,
        table: str = DEFAULT_TABLE,
    ) -> None:
        table_parts(table)
        self._table = table
        self._rows = RowBuilder(pipeline, cluster, source, store)

    # A connection of an async driver is an object as well, hence the exceptions.
    @overload
    def enqueue(  # type: ignore[overload-overlap]
        self,
        connection: AsyncConnection,
        job: JobType[P, R] | ConfiguredJob[P, R],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Awaitable[str]: ...

    @overload
    def enqueue(
        self, connection: object, job: JobType[P, R] | ConfiguredJob[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> str: ...

    def enqueue(
        self, connection: object, job: JobType[P, R] | ConfiguredJob[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> str | Awaitable[str]:
        """Put one job in; it is published once the connection's transaction has committed.

        Args:
            connection: a connection or session of any supported driver, in a transaction. Await the call if it is an
                async one.
            job: the job type, or `job_type.with_options(...)`.
            args, kwargs: the job's own parameters.

        Returns:
            The job's id.

        Raises:
            CallRefused: as `Producer.enqueue`; nothing was written.
            NoTransaction: none is open, so the job would be committed whatever becomes of your other writes.
            OutboxTableMissing, DatabaseError: what is wrong, and what to do; nothing was written.
        """
        return self.send(connection, job.call(*args, **kwargs))

    @overload
    def send(self, connection: AsyncConnection, call: JobCall) -> Awaitable[str]: ...  # type: ignore[overload-overlap]

    @overload
    def send(self, connection: object, call: JobCall) -> str: ...

    def send(self, connection: object, call: JobCall) -> str | Awaitable[str]:
        """Put one bound call in, as `enqueue` does."""
        driver = find_driver(connection)
        return _run(driver, self._put, call)

    @overload
    def enqueue_many(self, connection: AsyncConnection, calls: Iterable[JobCall]) -> Awaitable[int]: ...  # type: ignore[overload-overlap]

    @overload
    def enqueue_many(self, connection: object, calls: Iterable[JobCall]) -> int: ...

    def enqueue_many(self, connection: object, calls: Iterable[JobCall]) -> int | Awaitable[int]:
        """Put all calls of an iterable in, a few hundred to a statement, and return how many.

        The first call that is refused ends it with its error, as all of them are one transaction: roll that back.

        Args:
            connection: as in `enqueue`.
            calls: `job_type.call(...)` of each job; may be larger than memory.
        """
        driver = find_driver(connection)
        return _run(driver, self._put_many, calls)

    async def _put(self, driver: Driver, call: JobCall) -> str:
        row = self._rows.build(call)
        await self._insert(driver, [row])
        return row.job_id

    async def _put_many(self, driver: Driver, calls: Iterable[JobCall]) -> int:
        rows = map(self._rows.build, calls)
        count = 0
        while batch := list(islice(rows, BATCH_ROWS)):
            await self._insert(driver, batch)
            count += len(batch)
        return count

    async def _insert(self, driver: Driver, rows: list[NewRow]) -> None:
        await driver.join()
        try:
            if len(rows) > 1 and driver.dialect == "postgresql":
                columns = [list(column) for column in zip(*rows, strict=True)]
                await driver.execute(insert_many_statement(self._table, driver.marker), columns)
                return
            statement = insert_statement(self._table, driver.marker, driver.dialect)
            for row in rows:
                await driver.execute(statement, row)
        except Exception as error:
            self._explain(error)
            raise

    def _explain(self, error: Exception) -> None:
        if is_table_missing(error):
            raise OutboxTableMissing(self._table) from error
        if sql_state(error) == _TRANSACTION_FAILED:
            raise TransactionAborted from error


def _run(driver: Driver, put: Callable[[Driver, A], Coroutine[object, None, T]], given: A) -> T | Awaitable[T]:
    """Run to the end, or return what is to be awaited, as the driver is."""
    return put(driver, given) if driver.is_async else run_at_once(put(driver, given))
