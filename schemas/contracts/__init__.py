"""The contract of a job type, and what it can be read with."""
