"""What waits where, how fast it goes, and why it does not."""
