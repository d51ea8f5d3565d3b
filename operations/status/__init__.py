"""What waits in each queue, how fast it moves, and why it does not."""
