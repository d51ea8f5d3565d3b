"""The databases that users already have: which driver a connection is of, what is asked of it, and Stoker's tables."""

from .detection import find_driver
from .driver import Driver, Row, is_table_missing, run_at_once, settled, sql_state
from .errors import (
    AutocommitConnection,
    ConnectionClosed,
    DatabaseDriverMissing,
    DatabaseError,
    DatabaseRefused,
    DatabaseUnreachable,
    DatabaseUrlInvalid,
    InvalidTableName,
    NoTransaction,
    OutboxTableMissing,
    TransactionAborted,
    TransactionEnded,
    UnsupportedConnection,
    WrongBlock,
)
from .sql import Dialect, Marker, marked, quoted, table_parts

__all__ = [
    "AutocommitConnection",
    "ConnectionClosed",
    "DatabaseDriverMissing",
    "DatabaseError",
    "DatabaseRefused",
    "DatabaseUnreachable",
    "DatabaseUrlInvalid",
    "Dialect",
    "Driver",
    "InvalidTableName",
    "Marker",
    "NoTransaction",
    "OutboxTableMissing",
    "Row",
    "TransactionAborted",
    "TransactionEnded",
    "UnsupportedConnection",
    "WrongBlock",
    "find_driver",
    "is_table_missing",
    "marked",
    "quoted",
    "run_at_once",
    "settled",
    "sql_state",
    "table_parts",
]
