"""Statistics: rates, waits, runs and failures of the last hour, counted by Faust from the events of jobs."""
