"""The poll loop: what each turn of the poll thread does for partitions, records and figures, and at a shutdown."""
