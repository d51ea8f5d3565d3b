"""`WorkerSettings`: the settings of one worker process, read once at its entry point."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from .machine import processors


def default_worker_id() -> str:
    """Name this process: host and process id, which is what an operator needs to find it."""
    return f"{socket.gethostname()}-{os.getpid()}"


COUNTS: Final = (
    "concurrency",
    "async_concurrency",
    "isolated_concurrency",
    "recycle_after_jobs",
    "recycle_above_bytes",
    "max_in_flight",
    "max_in_flight_bytes",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """The bounds and habits of one worker process; the bounds hold for each queue that it works on.

    Attributes:
        queues: names of the queues to work on; empty means all of the pipeline's.
        concurrency: threads for sync jobs. 16 keep jobs that wait for a network busy without many stacks in memory.
        async_concurrency: async jobs that run at once on the event loop. 100, since one that waits costs little memory.
        isolated_concurrency: child processes for isolated jobs, and so how many of them run at once; as many as this
            process may use processors. Only queues with isolated jobs, or suspects, have children, and one spare each.
        recycle_after_jobs: number of jobs after which a child is replaced; None keeps it, since most jobs leak nothing.
        recycle_above_bytes: bytes of memory above which a child is replaced after a job; None keeps it, likewise.
        max_in_flight: jobs taken from Kafka and not yet settled. Those that wait behind their key or at a gate do not
            count, nor those of heavy tenants: they have bounds of their own. 4,000 are a tenth of a second of no-op
            jobs.
        max_in_flight_bytes: bytes of the payloads, keys and headers of all jobs taken and not yet settled, those that
            wait included. 64 MiB hold 4,000 jobs of 16 KiB, and a small container bears them for each of its queues.
        grace: how long running jobs may take to end at a shutdown, before they are left to be delivered again. 30 s, in
            which most jobs end.
        revoke_grace: the same when a partition moves to another worker; at most half of `max.poll.interval.ms`. 10 s,
            since no worker runs the partition's jobs meanwhile.
        commit_interval: how often offsets are committed. A crash re-delivers what ended since, and the ledger keeps
            it from running again, so the interval costs little either way; 250 ms keep the lag that people see fresh.
        done_events: whether each job that is done has an event, as status and statistics need it.
        release: names in events what this process runs, such as a commit of the application; empty, if not given.
        worker_id: names in headers, events and logs the worker that ran a job; host and process id, if not given.
    """

    queues: tuple[str, ...] = ()
    concurrency: int = 16
    async_concurrency: int = 100
    isolated_concurrency: int = field(default_factory=processors)
    recycle_after_jobs: int | None = None
    recycle_above_bytes: int | None = None
    max_in_flight: int = 4_000
    max_in_flight_bytes: int = 64 * 1024 * 1024
    grace: timedelta = timedelta(seconds=30)
    revoke_grace: timedelta = timedelta(seconds=10)
    commit_interval: timedelta = timedelta(milliseconds=250)
    done_events: bool = True
    release: str = ""
    worker_id: str = field(default_factory=default_worker_id)

    def __post_init__(self) -> None:
        """Report every value that cannot be, together."""
        too_small = [
            f"{name} must be at least 1; it is {value}"
            for name in COUNTS
            if (value := getattr(self, name)) is not None and value < 1
        ]
        negative = [
            f"{name} cannot be negative; it is {getattr(self, name)}"
            for name in ("grace", "revoke_grace", "commit_interval")
            if getattr(self, name) < timedelta(0)
        ]
        if too_small or negative:
            raise ValueError("worker settings: " + "; ".join(too_small + negative))
