"""Replay and discard: published in transactions, paced, corrected, audited."""
