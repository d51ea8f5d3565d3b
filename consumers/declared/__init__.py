"""Declared features: which gates, lanes, runners, intake and writers a queue has, each kind in one list."""
