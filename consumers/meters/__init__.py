"""Meters: what one scope of a limit has left, and what is reported of it."""
