"""Running jobs: the worker, and what a job uses of it."""

from .gates.pauses import Pause
from .inbox import AlreadyDone
from .instruments.instrument import Instrument
from .job.context import JobContext, NoCurrentJob, current_job, current_job_or_none
from .job.dependencies import DependencyDown, UnknownDependency
from .job.endings import (
    Discard,
    JobCancelled,
    JobInterrupted,
    MemoryLimitExceeded,
    RateLimited,
    Retry,
    Snooze,
    TimeLimitExceeded,
    WorkerShutdown,
)
from .job.heartbeats import JobProgress
from .settings import WorkerSettings
from .worker import Worker

__all__ = [
    "AlreadyDone",
    "DependencyDown",
    "Discard",
    "Instrument",
    "JobCancelled",
    "JobContext",
    "JobInterrupted",
    "JobProgress",
    "MemoryLimitExceeded",
    "NoCurrentJob",
    "Pause",
    "RateLimited",
    "Retry",
    "Snooze",
    "TimeLimitExceeded",
    "UnknownDependency",
    "Worker",
    "WorkerSettings",
    "WorkerShutdown",
    "current_job",
    "current_job_or_none",
]
