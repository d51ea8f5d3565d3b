"""The inbox: a job's id and its own writes in one transaction of the application's database."""

from ...databases import (
    AutocommitConnection,
    ConnectionClosed,
    DatabaseError,
    Dialect,
    InvalidTableName,
    TransactionAborted,
    TransactionEnded,
    UnsupportedConnection,
    WrongBlock,
)
from ...databases.inbox_table import DEFAULT_TABLE, table_ddl
from .errors import AlreadyDone, EnteredTwice, InboxError, InboxTableMissing, InvalidEffectName, ResultRefused
from .identity import Identity, identify
from .inbox import RESULT_LIMIT_BYTES, Inbox, open_inbox

__all__ = [
    "DEFAULT_TABLE",
    "RESULT_LIMIT_BYTES",
    "AlreadyDone",
    "AutocommitConnection",
    "ConnectionClosed",
    "DatabaseError",
    "Dialect",
    "EnteredTwice",
    "Identity",
    "Inbox",
    "InboxError",
    "InboxTableMissing",
    "InvalidEffectName",
    "InvalidTableName",
    "ResultRefused",
    "TransactionAborted",
    "TransactionEnded",
    "UnsupportedConnection",
    "WrongBlock",
    "identify",
    "open_inbox",
    "table_ddl",
]
