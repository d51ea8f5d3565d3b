"""The records that Stoker writes: events, orders, ledger entries, schedules and others, each with its schema."""
