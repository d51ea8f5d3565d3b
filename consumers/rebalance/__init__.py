"""Rebalance: partitions that come from the owner before, and go to the next, and what runs of them meanwhile."""
