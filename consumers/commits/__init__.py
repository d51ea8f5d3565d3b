"""Commits: how far each partition has come, for the next owner, and what of it does not fit a commit."""
