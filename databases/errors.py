"""What may go wrong around an inbox, a class for each thing that a caller does differently.

AlreadyDone              no fault: the job's effect is in the database since an earlier run
InboxError
    UnsupportedConnection    not a connection of a driver that is known
    WrongBlock               `with` where `async with` is due, or the other way round
    ConnectionClosed
    TransactionAborted       a statement failed in the caller's transaction before the block
    TransactionEnded         the block's own code ended its transaction
    AutocommitConnection     each statement would be a transaction of its own
    InboxTableMissing
    InvalidInboxName         of the table, or of a step
    EnteredTwice             one run of a job enters the same inbox again
    ResultRefused            what is to be kept is no JSON, or too large
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

_SUPPORTED: Final = (
    "give it an open connection of psycopg 3 (sync or async), asyncpg, SQLAlchemy (Connection, Session, "
    "AsyncConnection, AsyncSession; PostgreSQL or SQLite), sqlite3 or aiosqlite"
)


class AlreadyDone(Exception):  # an answer, not an error
    """An earlier run of this job has committed its effect: the block's body does not run.

    A worker takes it as done where the job does not catch it, unless it is about a step only.

    Attributes:
        job: the job's name in the inbox.
        step: the step that is done; empty where it is the whole job.
        result: what that run has kept, as JSON gives it back; None if it kept nothing.
        done_at: when that run entered its block; None where the row has gone meanwhile.
    """

    def __init__(self, job: str, step: str = "", result: object = None, done_at: datetime | None = None) -> None:
        at = "" if done_at is None else f" at {done_at:%Y-%m-%d %H:%M:%S} UTC"
        what = f"step {step!r} of job {job}" if step else f"job {job}"
        hint = "; catch AlreadyDone around the step and go on with its `result`" if step else ""
        super().__init__(f"{what} was done{at}, so it does not run again{hint}")
        self.job, self.step, self.result, self.done_at = job, step, result, done_at

    def __reduce__(self) -> tuple[type[AlreadyDone], tuple[object, ...]]:
        """Let it pass between processes."""
        return type(self), (self.job, self.step, self.result, self.done_at)


class InboxError(Exception):
    """Root of what may go wrong around an inbox."""


class UnsupportedConnection(InboxError, TypeError):
    """What was given is no connection that the inbox can use."""

    def __init__(self, connection: object, hint: str = "") -> None:
        kind = f"{type(connection).__module__}.{type(connection).__qualname__}"
        super().__init__(f"an inbox cannot use a {kind}: {hint or _SUPPORTED}")


class WrongBlock(InboxError, TypeError):
    """`with` around an async connection, or `async with` around a sync one."""

    def __init__(self, connection: object, *, is_async: bool) -> None:
        kind = f"{type(connection).__module__}.{type(connection).__qualname__}"
        wanted = "async with" if is_async else "with"
        super().__init__(f"{kind} is {'an async' if is_async else 'a sync'} connection: write `{wanted} job.inbox(…)`")


class ConnectionClosed(InboxError):
    """The connection is closed; nothing was sent."""

    def __init__(self) -> None:
        super().__init__("the connection is closed; open one before the inbox, and close it after")


class TransactionAborted(InboxError):
    """A statement before the block has failed, so the database refuses everything until a rollback."""

    def __init__(self) -> None:
        super().__init__(
            "the connection's transaction has failed before the inbox was entered; roll it back, "
            "or let its error end the job"
        )


class TransactionEnded(InboxError):
    """The block's own code has committed or rolled back, so that the effect is no longer in one transaction."""

    def __init__(self) -> None:
        super().__init__(
            "the code inside the inbox has ended its transaction, so id and effect were not committed together; "
            "leave commit and rollback to the inbox (sqlite3's executescript() commits as well)"
        )


class AutocommitConnection(InboxError):
    """The connection commits each statement on its own, and the inbox cannot change that."""

    def __init__(self) -> None:
        super().__init__(
            "this SQLAlchemy connection is in AUTOCOMMIT mode, where id and effect cannot be committed together; "
            "take one of another isolation level"
        )


class InboxTableMissing(InboxError):
    """The database has no inbox of that name."""

    def __init__(self, table: str) -> None:
        option = "" if table == "stoker_inbox" else f" --table {table}"
        super().__init__(
            f"the database has no table {table!r}: create it with `stoker inbox create{option} --url …`, "
            f"or put the output of `stoker inbox create{option} --print` into your migrations"
        )
        self.table = table


class InvalidInboxName(InboxError, ValueError):
    """The name of a table or of a step is not allowed."""


class EnteredTwice(InboxError):
    """A run has committed an inbox and enters it again; a second run of the job would not get that far."""

    def __init__(self, job: str, step: str) -> None:
        already = f"the step {step!r}" if step else "an inbox without a step"
        super().__init__(
            f"job {job} has committed {already} in this very run, after which it cannot enter "
            f"{'it again' if step else 'another one: a second run would end there, as done'}; "
            "put all writes into one block, or name the blocks with step="
        )
        self.job, self.step = job, step


class ResultRefused(InboxError, ValueError):
    """What is to be kept is no JSON, or too large; nothing was written."""
