"""The live screen of `stoker top`: queues, job types, workers, slow jobs and failures."""
