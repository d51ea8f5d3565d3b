"""The doctor: it checks from outside the guarantees that a cluster can show."""
