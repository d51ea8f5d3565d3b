"""Backpressure: which jobs of a producer a queue takes now, where it declares how many may wait."""
