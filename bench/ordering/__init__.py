"""Orders to running workers: how soon all have taken one, and what many of them cost."""
