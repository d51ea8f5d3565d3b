"""The partitions that are ours: where they begin, what they remember, and what is committed of them."""
