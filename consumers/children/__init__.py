"""Child processes that run isolated jobs: what they are, what is said to them, and who lends them out."""
