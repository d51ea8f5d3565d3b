"""Lanes: which records may run now, one at a time for each key."""
