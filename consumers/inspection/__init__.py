"""What people see of a worker: figures, the state of each part, hold-ups."""
