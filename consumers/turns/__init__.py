"""Turns of the poll thread: what each one does for partitions, records and figures, and those of a shutdown."""
