"""The declared system: pipelines, queues, job types, the names of topics, and plan, apply and verify."""

from .actor import Actor
from .cluster.audit_writer import AuditUnwritable
from .cluster.clients import ClientOptionRefused
from .cluster.settings import ClusterSettings, ClusterUnreachable, NoCluster, NotAuthorized
from .declaration.breakers import Breaker, DeadGuard
from .declaration.fairness import FairBy
from .declaration.job_type import AnyJobType, CallOptions, ConfiguredJob, InvalidDeclaration, JobCall, JobType
from .declaration.limits import Concurrency, Rate
from .declaration.pipeline import Pipeline, UnknownName
from .declaration.queue import LedgerWindow, Queue
from .declaration.retries import RetryPolicy
from .declaration.schedule import Schedule
from .declaration.timing import InvalidTiming, cron, every
from .declaration.unique import Unique
from .durations import format_duration, parse_duration
from .ownership.slo import Slo
from .ownership.story import JobStory
from .planning.apply import Applied, ApplyFailed, TopologyRefused, ensure_topology
from .planning.findings import Allowed, Group, Plan, PlanFinding
from .planning.recording import Recording
from .planning.verify import TopologyMismatch

__all__ = [
    "Actor",
    "Allowed",
    "AnyJobType",
    "Applied",
    "ApplyFailed",
    "AuditUnwritable",
    "Breaker",
    "CallOptions",
    "ClientOptionRefused",
    "ClusterSettings",
    "ClusterUnreachable",
    "Concurrency",
    "ConfiguredJob",
    "DeadGuard",
    "FairBy",
    "Group",
    "InvalidDeclaration",
    "InvalidTiming",
    "JobCall",
    "JobStory",
    "JobType",
    "LedgerWindow",
    "NoCluster",
    "NotAuthorized",
    "Pipeline",
    "Plan",
    "PlanFinding",
    "Queue",
    "Rate",
    "Recording",
    "RetryPolicy",
    "Schedule",
    "Slo",
    "TopologyMismatch",
    "TopologyRefused",
    "Unique",
    "UnknownName",
    "cron",
    "ensure_topology",
    "every",
    "format_duration",
    "parse_duration",
]
