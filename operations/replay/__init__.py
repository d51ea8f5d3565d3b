"""Replay and discard: in transactions, with corrections, a rate limit and an audit trail."""
