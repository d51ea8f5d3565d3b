"""Child processes for isolated jobs and suspects."""
