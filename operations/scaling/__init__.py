"""Scaling: how many workers each queue needs, what bounds that, and when its backlog is gone."""
