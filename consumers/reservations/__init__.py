"""Reservations: the owner of a partition writes what it uses of limits by key and tenant before it uses it."""
