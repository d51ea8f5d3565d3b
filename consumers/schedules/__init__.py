"""Schedules: the owner of a queue's first partition enqueues the jobs of their instants, each once."""
