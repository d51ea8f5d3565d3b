"""Names on the wire: topics, groups, headers, ledger entries."""
