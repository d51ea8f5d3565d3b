"""Names on the wire: topics, groups, headers, names in the ledger."""
