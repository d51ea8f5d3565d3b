"""Fairness: the runners of a process are shared among the tenants that have work."""
