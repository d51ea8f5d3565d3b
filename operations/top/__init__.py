"""`stoker top`: queues, job types, workers, slow jobs and failures on one live screen."""
