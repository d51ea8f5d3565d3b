"""Measures of the outbox, on a PostgreSQL of their own."""
