"""What ends a worker, or keeps a part of it waiting.

WorkerCrashed       a part of the worker failed on its own: start the process again, nothing is lost
Unrestorable        (tails.py) ledger or progress cannot be read: their partitions wait, and it is tried again
OffsetsWentBack     (offsets.py) a partition is not what it was: its assignment ends, and another begins
GaveUp              (settle.py) a shutdown's time ran out: what was not settled is delivered again
NoCurrentJob        (context.py) `current_job()` outside of a worker
"""

from __future__ import annotations


class WorkerCrashed(Exception):
    """A part of a queue's worker failed on its own, not by a job; the process stops, and nothing is lost by it."""

    def __init__(self, queue: str) -> None:
        super().__init__(f"the worker of queue {queue!r} failed; its jobs are delivered again once it is restarted")
        self.queue = queue
