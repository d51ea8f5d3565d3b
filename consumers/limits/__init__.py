"""Limits: how often jobs may begin and how many may run at once, kept exactly across processes."""
