"""Records in flight: the bounds on how many a process holds in memory, and how settled ones are counted out."""
