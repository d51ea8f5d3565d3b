"""The index of jobs: where each one is and what became of it, folded from the topics into a SQLite file."""
