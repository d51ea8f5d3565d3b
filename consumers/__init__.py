"""Running jobs: the worker, and what a job uses of it."""

from .inbox import AlreadyDone
from .job.context import JobContext, NoCurrentJob, current_job, current_job_or_none
from .job.heartbeats import JobProgress
from .job.signals import Discard, MemoryLimitExceeded, Retry, Snooze, TimeLimitExceeded
from .settings import WorkerSettings
from .worker import Worker

__all__ = [
    "AlreadyDone",
    "Discard",
    "JobContext",
    "JobProgress",
    "MemoryLimitExceeded",
    "NoCurrentJob",
    "Retry",
    "Snooze",
    "TimeLimitExceeded",
    "Worker",
    "WorkerSettings",
    "current_job",
    "current_job_or_none",
]
