"""The state of queues: the jobs that wait, how fast they move, and why they do not."""
