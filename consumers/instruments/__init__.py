"""Instruments: what watches jobs on their way, such as metrics."""
