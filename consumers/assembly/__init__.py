"""Assembly: the parts of one queue's worker, made group by group; each group gets what it needs of those before it."""
