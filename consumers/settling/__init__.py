"""The settler: it writes retries, dead letters, ledger entries and events, and waits for confirmation."""
