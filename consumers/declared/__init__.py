"""Declared features: which gates, runners, intake and writers a queue has, each kind in one list."""
