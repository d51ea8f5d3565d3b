"""Owned partitions: where they start, their ledger, and what is committed of them."""
