"""Carrying forward: records that wait are written again before they are too old for their topics."""
