"""The poll thread's parts: bounds on records in memory, settled batches, partitions that come and go."""
