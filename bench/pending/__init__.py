"""Measures of jobs that wait: behind an earlier one of their key, and for their due time."""
