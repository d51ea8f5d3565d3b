"""Creating, looking at and pruning an outbox's table by the database's URL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Final

from ..databases import OutboxTableMissing
from ..databases.outbox.opening import open_outbox_table
from ..databases.outbox.rows import OutboxStatus, OutboxTable
from ..databases.outbox.table import DEFAULT_TABLE
from ..databases.url import dialect_of, explained_errors

WORKING_WITHIN: Final = timedelta(seconds=15)
"""A relay writes a note every second; one that is silent for longer is gone, or cannot reach the database."""


@contextmanager
def open_outbox(url: str, table: str = DEFAULT_TABLE) -> Iterator[OutboxTable]:
    """Connect to the database that holds, or shall hold, an outbox.

    Args:
        url: `postgresql://user:password@host/database`, or `sqlite:///path` (`sqlite:////path` from the root).
        table: `table` or `schema.table`.

    Raises:
        DatabaseUrlInvalid: the URL is of no use; it is not in the message, since it may hold a password.
        DatabaseDriverMissing: psycopg is not installed.
        DatabaseUnreachable: the database does not answer, or refuses the connection.
        OutboxTableMissing: there is no such table.
        DatabaseRefused: the database refused a statement.
        InvalidTableName: a table cannot be called so.
    """
    explained = explained_errors(dialect_of(url), "outbox", table, OutboxTableMissing)
    with closing(open_outbox_table(url, table)) as opened, explained:
        yield opened


def create_outbox(url: str, table: str = DEFAULT_TABLE) -> None:
    """Create an outbox's tables, if they are not there; raises as `open_outbox` does."""
    with open_outbox(url, table) as opened:
        opened.create()


def outbox_status(url: str, table: str = DEFAULT_TABLE) -> OutboxStatus:
    """Look at an outbox; raises as `open_outbox` does."""
    with open_outbox(url, table) as opened:
        return opened.status()


def is_relay_working(status: OutboxStatus, now: datetime | None = None) -> bool:
    """Whether a relay has written its beat within the last few seconds."""
    return status.beat_at is not None and (now or datetime.now(UTC)) - status.beat_at < WORKING_WITHIN
