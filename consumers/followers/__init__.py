"""Followers: what the declaration adds to jobs that fail or are late: their owner, and the job that follows them."""
