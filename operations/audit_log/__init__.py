"""The audit log: who did what to a pipeline, when, why, from where, and what was there before and after."""
