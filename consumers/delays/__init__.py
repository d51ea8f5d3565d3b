"""Delays: records that wait until they are due, and what ends their wait before that."""
