"""The steps of a record: claim, decode, run, decide, settle."""
