"""The steps of one record: claim, decode, run, decide."""
