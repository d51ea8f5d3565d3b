"""Intake: what becomes of records as they arrive, as they are due, and as they are read again."""
