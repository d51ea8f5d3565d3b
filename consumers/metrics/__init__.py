"""Metrics and health of a worker process: folded by the batch, and looked up when they are asked for."""
