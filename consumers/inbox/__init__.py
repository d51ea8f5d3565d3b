"""The inbox: a job's id and its own writes in one transaction of the application's database."""

from ...databases.errors import (
    AlreadyDone,
    AutocommitConnection,
    ConnectionClosed,
    EnteredTwice,
    InboxError,
    InboxTableMissing,
    InvalidInboxName,
    ResultRefused,
    TransactionAborted,
    TransactionEnded,
    UnsupportedConnection,
    WrongBlock,
)
from ...databases.inbox_table import DEFAULT_TABLE, Dialect, table_ddl
from .identity import Identity, identify
from .inbox import RESULT_LIMIT_BYTES, Inbox, open_inbox

__all__ = [
    "DEFAULT_TABLE",
    "RESULT_LIMIT_BYTES",
    "AlreadyDone",
    "AutocommitConnection",
    "ConnectionClosed",
    "Dialect",
    "EnteredTwice",
    "Identity",
    "Inbox",
    "InboxError",
    "InboxTableMissing",
    "InvalidInboxName",
    "ResultRefused",
    "TransactionAborted",
    "TransactionEnded",
    "UnsupportedConnection",
    "WrongBlock",
    "identify",
    "open_inbox",
    "table_ddl",
]
