"""Priorities: which of the ready records starts next, and one record of a key at a time across all of them."""
