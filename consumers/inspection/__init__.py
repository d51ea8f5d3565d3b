"""The worker's state for people: figures, the state of each part, blockers."""
