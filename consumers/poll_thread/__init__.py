"""The poll thread's parts: bounds on records in memory, and settled batches."""
