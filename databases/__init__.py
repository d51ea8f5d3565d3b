"""The databases that users already have: which driver a connection is of, what is asked of it, and Stoker's tables."""
