"""Tools to test your own jobs without Kafka: run a job, record what a program enqueues."""

from ..consumers.records.outcomes import Cancelled, Dead, Delayed, Done, Failure, Outcome, Retried, Snoozed
from .job_runner import JobRun, JobRunner
from .recording import AsyncRecordingProducer, RecordedJob, RecordingProducer

__all__ = [
    "AsyncRecordingProducer",
    "Cancelled",
    "Dead",
    "Delayed",
    "Done",
    "Failure",
    "JobRun",
    "JobRunner",
    "Outcome",
    "RecordedJob",
    "RecordingProducer",
    "Retried",
    "Snoozed",
]
