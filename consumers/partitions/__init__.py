"""Owned partitions: where they start, and their ledger."""
