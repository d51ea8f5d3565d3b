"""The poll thread's parts: delayed records, bounds on those in memory, settled batches, partitions that come and go."""
