"""The declared system: pipelines, queues and job types; names, headers and settings of the wire; plan, apply and drift."""

from .cluster import ClusterSettings, NoCluster
from .durations import format_duration, parse_duration
from .job_type import CallOptions, ConfiguredJob, InvalidDeclaration, JobCall, JobType
from .pipeline import Pipeline, UnknownName
from .queue import LedgerWindow, Queue
from .retries import RetryPolicy

__all__ = [
    "CallOptions",
    "ClusterSettings",
    "ConfiguredJob",
    "InvalidDeclaration",
    "JobCall",
    "JobType",
    "LedgerWindow",
    "NoCluster",
    "Pipeline",
    "Queue",
    "RetryPolicy",
    "UnknownName",
    "format_duration",
    "parse_duration",
]
