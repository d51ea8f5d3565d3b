"""Instruments: what watches jobs on their way."""
