"""`Inbox`: a block in which a job's id and its own writes are one transaction, so that its effect happens once.

The id goes in first. Where it is there already, the job's effect is as well, for they were committed together: the
body does not run, and `AlreadyDone` carries what the first run has kept. A twin that runs at the same time waits for
the first one's end, PostgreSQL at the id, SQLite at the lock for writing.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from types import TracebackType
from typing import Final, Self

from opentelemetry.trace import Span

from ...databases import TransactionAborted, WrongBlock, find_driver, is_table_missing, run_at_once, sql_state
from ...databases.inbox_table import DEFAULT_TABLE, statements
from .errors import AlreadyDone, EnteredTwice, InboxTableMissing, ResultRefused
from .identity import Identity, identify
from .spans import end_inbox_span, inbox_span

RESULT_LIMIT_BYTES: Final = 64 * 1024
"""A result is a reference or a receipt; what is larger belongs into a table of the job's own."""
_TRANSACTION_FAILED: Final = "25P02"
_SERIALIZATION_FAILED: Final = "40001"
_ENTRIES: Final = 3
"""Under REPEATABLE READ and above, PostgreSQL fails the second of two twins; a transaction later it sees the first."""

Entered = dict[str, bool]
"""{effect: whether its commit was final}: the blocks that this run of the job has left in order."""


class Inbox:
    """One block around one connection; made by `current_job().inbox(connection)`."""

    def __init__(self, connection: object, identity: Identity, *, table: str, entered: Entered) -> None:
        self._connection = connection
        self._driver = find_driver(connection)
        self._identity = identity
        self._table = table
        self._statements = statements(table, self._driver.marker)
        self._entered = entered
        self._kept: str | None = None
        self._span: Span | None = None

    def keep(self, result: object) -> None:
        """Store a result with the id: a second run gives it as `AlreadyDone.result`. The last one counts.

        Raises:
            ResultRefused: it is no JSON, or larger than 64 KiB as such.
        """
        try:
            kept = json.dumps(result, allow_nan=False)
        except (TypeError, ValueError) as refused:
            raise ResultRefused(f"job {self._identity.job}: the result to keep is no JSON: {refused}") from refused
        if len(kept) > RESULT_LIMIT_BYTES:  # ASCII, so that characters are bytes
            raise ResultRefused(
                f"job {self._identity.job}: the result to keep has {len(kept):,} bytes as JSON, and "
                f"{RESULT_LIMIT_BYTES:,} are allowed; store it in a table of your own, in the same block"
            )
        self._kept = kept

    def __enter__(self) -> Self:
        """Begin, and put the id in.

        Raises:
            AlreadyDone: an earlier run has committed this block.
            DatabaseError: what is wrong, and what to do; nothing was written.
        """
        self._check_block(is_async=False)
        run_at_once(self._enter())
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Commit, or roll back what has failed."""
        run_at_once(self._leave(error))

    async def __aenter__(self) -> Self:
        """Begin, and put the id in; see `__enter__`."""
        self._check_block(is_async=True)
        await self._enter()
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Commit, or roll back what has failed."""
        await self._leave(error)

    def _check_block(self, *, is_async: bool) -> None:
        if self._driver.is_async is not is_async:
            raise WrongBlock(self._connection, is_async=self._driver.is_async)

    async def _enter(self) -> None:
        self._span = inbox_span(self._identity.effect)
        try:
            await self._begin()
        except BaseException as error:
            end_inbox_span(self._span, error, is_done=isinstance(error, AlreadyDone))
            raise

    async def _begin(self) -> None:
        self._refuse_another()
        for entry in range(1, _ENTRIES + 1):
            try:
                await self._driver.begin()
            except BaseException as error:
                self._explain(error)
                raise
            try:
                earlier = await self._put_id()
            except BaseException as error:
                await self._driver.rollback(error)
                if entry < _ENTRIES and self._driver.is_own and sql_state(error) == _SERIALIZATION_FAILED:
                    continue
                self._explain(error)
                raise
            if earlier is None:
                return
            await self._driver.rollback(earlier)
            raise earlier

    def _refuse_another(self) -> None:
        """After the whole effect was committed there is nothing to enter: a second run ends there."""
        effect = self._identity.effect
        if self._entered.get(effect) or self._entered.get(""):
            raise EnteredTwice(self._identity.job, effect if self._entered.get(effect) else "")

    async def _put_id(self) -> AlreadyDone | EnteredTwice | None:
        identity = self._identity
        if await self._driver.execute(self._statements.enter, identity.values):
            return None
        if identity.effect in self._entered:
            return EnteredTwice(identity.job, identity.effect)
        result, done_at = await self._driver.fetch(self._statements.find, identity.values) or (None, None)
        return AlreadyDone(
            identity.job, identity.effect, None if result is None else json.loads(result), _instant(done_at)
        )

    def _explain(self, error: BaseException) -> None:
        if is_table_missing(error):
            raise InboxTableMissing(self._table) from error
        if sql_state(error) == _TRANSACTION_FAILED:
            raise TransactionAborted from error

    async def _leave(self, error: BaseException | None) -> None:
        try:
            await self._end(error)
        except BaseException as failure:
            end_inbox_span(self._span, failure)
            raise
        end_inbox_span(self._span, error)

    async def _end(self, error: BaseException | None) -> None:
        if error is not None:
            await self._driver.rollback(error)
            return
        try:
            await self._finish()
        except BaseException as failure:
            await self._driver.rollback(failure)
            raise
        self._entered[self._identity.effect] = not self._driver.is_enclosed

    async def _finish(self) -> None:
        if self._kept is not None:
            await self._driver.execute(self._statements.keep, (self._kept, *self._identity.values))
        await self._driver.commit()


def open_inbox(
    connection: object,
    *,
    queue: str,
    job: str,
    effect: str = "",
    table: str = DEFAULT_TABLE,
    entered: Entered | None = None,
) -> Inbox:
    """An inbox for code that no worker runs; a job calls `current_job().inbox(connection)`.

    Args:
        connection: of any supported driver, open.
        queue: `<namespace>.<queue>`, or whatever else parts one kind of ids from another.
        job: the id, or the idempotency key.
        effect: the name of this block, where a job has several.
        table: `table` or `schema.table`.
        entered: the blocks that the same run has left, to refuse them when they come again.

    Raises:
        UnsupportedConnection: the connection is of no driver that is known.
        InvalidTableName, InvalidEffectName: table or effect cannot be called so.
    """
    return Inbox(connection, identify(queue, job, effect), table=table, entered={} if entered is None else entered)


def _instant(value: object) -> datetime | None:
    """When the first run entered: PostgreSQL's drivers give an instant, SQLite its text."""
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    return value.astimezone(UTC) if isinstance(value, datetime) else None
