"""Errors that end a worker, or keep a part of it waiting.

WorkerCrashed       a part of the worker failed, its cause says why: start the process again, nothing is lost
PollThreadHangs     such an end: a poll thread turns no more, or does not end when its worker stops
WorkerInChild       the application makes a worker as it is imported: put that under `if __name__ == "__main__":`
Unrestorable        (kafka/log_tail.py) ledger or progress cannot be read: their partitions wait, and it is tried again
OffsetsWentBack     (progress/partition_progress.py) a partition is not what it was: another assignment of it begins
ForbiddenTransition (progress/assignment.py) such a cause: an assignment's state may not follow the present one
TooManyStuck        such a cause: stuck jobs hold so many runners that no more are started in their place
LoopLost            the same: a job holds the event loop, and others are suspended on it
GaveUp              (settling/batch_writer.py) a shutdown's time ran out: what was not settled is delivered again
NoCurrentJob        (job/context.py) `current_job()` outside of a worker
"""

from __future__ import annotations

from ..topology.counts import counted_doing


class WorkerInChild(RuntimeError):
    """A worker is made in the child process of another: the application makes one as it is imported."""

    def __init__(self) -> None:
        super().__init__(
            "this process is a worker's child and has imported the application to run its isolated jobs, but the "
            "application makes a worker when it is imported: put that under `if __name__ == '__main__':`"
        )


class WorkerCrashed(Exception):
    """A part of a worker failed, by a fault of its own or since jobs hold it; the process stops, and loses nothing.

    Its `__cause__` is the error of that part; None where a poll thread hangs (`PollThreadHangs`).

    Attributes:
        queue: the queue whose part it is; None where it is a part of the whole process.
    """

    def __init__(self, queue: str | None, what: str | None = None) -> None:
        whose = "the worker" if queue is None else f"the worker of queue {queue!r}"
        super().__init__(
            what
            or f"{whose} failed by the cause that is logged with this, and stops; restart it, and Kafka delivers its "
            "unfinished jobs again"
        )
        self.queue = queue


class PollThreadHangs(WorkerCrashed):
    """A poll thread hangs for good: only the end of its process helps, by which nothing is lost.

    Attributes:
        thread: its name.
        stack: where it is, as a traceback shows it.
    """

    def __init__(self, queue: str, thread: str, *, how: str, stack: str) -> None:
        super().__init__(
            queue,
            f"the worker ends, since the thread {thread} of queue {queue!r} hangs: it {how}. Kafka delivers its "
            "unfinished jobs again once the session timeout is over; report this with the stack that is logged",
        )
        self.thread, self.stack = thread, stack


class TooManyStuck(Exception):
    """Stuck jobs hold so many runners that the worker starts no more in their place: only its end frees them."""

    def __init__(self, queue: str, stuck: int) -> None:
        super().__init__(
            f"queue {queue!r}: {counted_doing(stuck, 'job', 'are')} stuck past the timeout, too many to "
            "start other runners in place of theirs; the process stops, which ends stuck jobs. Restart it, and Kafka "
            "delivers them again; isolation='process' ends such jobs at their timeouts"
        )
        self.queue, self.stuck = queue, stuck


class LoopLost(Exception):
    """A job holds the event loop past all bounds, and others are suspended on it: only the process's end frees them."""

    def __init__(self, queue: str, job_id: str | None, suspended: int) -> None:
        who = f"job {job_id}" if job_id is not None else "something that a job started"
        super().__init__(
            f"queue {queue!r}: {who} holds the event loop and cannot be ended, so the process stops. Restart it, and "
            f"Kafka delivers its unfinished jobs again, with the {suspended} that are suspended on that loop; let the "
            "code await, or declare the job with `def`"
        )
        self.queue, self.job_id, self.suspended = queue, job_id, suspended
