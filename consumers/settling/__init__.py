"""Makes outcomes durable: the next record, the ledger entry, then the event."""
