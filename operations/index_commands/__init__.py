"""The commands on the index of jobs and on statistics: `jobs`, `status`, `statistics`, `catalogue`."""
