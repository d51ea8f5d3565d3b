"""Running jobs: the worker with its lanes, progress, ledger, retry tiers and settling, and what a job may say."""

from .context import JobContext, NoCurrentJob, current_job, current_job_or_none
from .inbox import AlreadyDone
from .settings import WorkerSettings
from .signals import Discard, MemoryLimitExceeded, Retry, Snooze, TimeLimitExceeded
from .signs import JobProgress
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
