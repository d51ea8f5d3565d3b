"""Sources: which of a queue's topics a record comes from, and which priority it has."""
