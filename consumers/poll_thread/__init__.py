"""The poll thread's parts: its state, bounds on records in memory, and settled batches."""
