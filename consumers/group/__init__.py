"""The worker's membership in its consumer group."""
