"""Ownership: who answers for jobs, what they promise, and what is enqueued when they fail or are late."""
