"""Breakers and dead guards: what a process counts of failures, and who of the fleet may probe."""
