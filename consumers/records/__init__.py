"""A delivered record, its job, and its outcome."""
