"""A delivered record, how far its partition has come, and what became of it."""
