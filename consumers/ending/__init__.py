"""The end of a worker: how long a stop may take, what has failed, and the thread that watches the others."""
