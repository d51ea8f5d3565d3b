"""A delivered record, the progress of its partition, and its outcome."""
