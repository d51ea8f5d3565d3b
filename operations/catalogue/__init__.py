"""The catalogue: all queues and job types with their owners and promises, beside what was measured of them."""
