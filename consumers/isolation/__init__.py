"""Child processes that run isolated jobs and suspects."""
