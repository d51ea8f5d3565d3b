"""Schedules at the terminal: their options, and how they are shown."""
