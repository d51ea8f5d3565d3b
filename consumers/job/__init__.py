"""What a job sees of the worker and what it may answer."""
