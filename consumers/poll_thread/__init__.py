"""The poll thread's parts: bounds on records in memory, settled batches, and the readers beside the group consumer."""
