"""The worker as people see it: figures, the state of each part, hold-ups."""
