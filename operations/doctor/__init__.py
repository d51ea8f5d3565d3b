"""The doctor: it checks from outside the promises that a cluster can show."""
