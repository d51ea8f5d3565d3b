"""Opens the outbox's table by the database's URL, and imports the driver that it needs."""

from __future__ import annotations

from ..errors import DatabaseDriverMissing
from ..sql import table_parts
from ..url import dialect_of
from .rows import OutboxTable


def open_outbox_table(url: str, table: str) -> OutboxTable:
    """Open the outbox's table on a connection of its own.

    Raises:
        DatabaseUrlInvalid, DatabaseDriverMissing, DatabaseUnreachable: as `databases/url.py` has it.
        InvalidTableName: a table cannot be called so.
    """
    table_parts(table)
    if dialect_of(url) == "sqlite":
        from .sqlite import SqliteOutbox

        return SqliteOutbox(url, table)
    try:
        from .postgresql import PostgresqlOutbox  # an optional extra
    except ImportError as missing:
        raise DatabaseDriverMissing from missing
    return PostgresqlOutbox(url, table)
