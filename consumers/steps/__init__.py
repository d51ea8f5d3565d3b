"""The steps of a record: claim, decode, run, decide, and the hand-over to the settler."""
