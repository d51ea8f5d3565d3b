"""The outbox's table: what creates it, and what its relay and the commands ask of it."""
