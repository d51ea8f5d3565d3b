"""The outbox: jobs in a table of the application's database, enqueued by its transactions, and their relay to Kafka."""

from ...databases import NoTransaction, OutboxTableMissing
from ...databases.outbox.table import DEFAULT_TABLE, table_ddl, table_statements
from .outbox import Outbox
from .relay import OutboxRelay
from .spool import Spool, SpooledReceipt

__all__ = [
    "DEFAULT_TABLE",
    "NoTransaction",
    "Outbox",
    "OutboxRelay",
    "OutboxTableMissing",
    "Spool",
    "SpooledReceipt",
    "table_ddl",
    "table_statements",
]
