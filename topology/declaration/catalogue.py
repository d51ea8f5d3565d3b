"""The catalogue: what a pipeline declares, as plain data to be printed or given to other programs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from ...schemas.codec.schema import FieldSchema, ObjectSchema, Schema, is_named, logical_type
from ...schemas.stores.registry_client import printable_address, subject_of
from ..durations import format_duration
from ..ownership.slo import Slo
from ..ownership.story import Follower
from .job_type import AnyJobType
from .limits import Limit, named_limits
from .pipeline import Pipeline
from .queue import Queue
from .topics import TopicSpec, max_record_bytes, pipeline_topics, queue_topics

NOT_DECLARED: Final = "from each call"


@dataclass(frozen=True, slots=True, kw_only=True)
class CataloguedField:
    """One field of a payload; `type` is its Avro type in words; a `required` one has no default."""

    name: str
    type: str
    required: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CataloguedSlo:
    """The promises of jobs: 99 of 100 of them keep the times, and this share of them is done."""

    wait_s: float | None
    run_s: float | None
    success: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CataloguedJobType:
    """One job type, as it is declared.

    Attributes:
        on_dead, on_late: the names of job types; empty where there is none.
        story_arguments: whether stories have the arguments.
        key, tenant: how each is made.
        unique: how its jobs are unique, in words; empty where they are not.
        limits: {name: limit, in words} of its own.
        breaker, dead_guard: in words; empty where there is none.
        isolation: `process` or `none`.
        memory_limit_bytes: that of an isolated job; None for no limit.
        tiers: those that its failures climb, as in topic names.
    """

    name: str
    description: str
    owner: str
    runbook: str
    slo: CataloguedSlo | None
    escalation: str
    on_dead: str
    on_late: str
    late_after_s: float | None
    story_arguments: bool
    is_async: bool
    key: str
    tenant: str
    priority: str
    unique: str
    limits: dict[str, str]
    cost: str
    breaker: str
    needs: tuple[str, ...]
    dead_guard: str
    timeout_s: float
    heartbeat_s: float | None
    isolation: str
    memory_limit_bytes: int | None
    attempts: int
    tiers: tuple[str, ...]
    permanent_errors: tuple[str, ...]
    ignored_errors: tuple[str, ...]
    max_payload_bytes: int
    compatibility: str
    schema_fingerprint: str
    fields: tuple[CataloguedField, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CataloguedTopic:
    """One topic, with the configs that the declaration fixes."""

    name: str
    role: str
    partitions: int
    replication: int | None
    configs: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class CataloguedQueue:
    """One queue with its topics and job types."""

    name: str
    description: str
    owner: str
    runbook: str
    slo: CataloguedSlo | None
    escalation: str
    on_dead: str
    on_late: str
    late_after_s: float | None
    group: str
    ordering: str
    route_by: str
    priorities: dict[str, int]
    partitions: int
    replication: int | None
    retention_s: float
    dead_retention_s: float
    tiers: tuple[str, ...]
    crash_limit: int
    ledger_jobs: int
    ledger_age_s: float
    session_timeout_s: float | None
    limits: dict[str, str]
    max_waiting: int | None
    when_full: str
    fair_by: str | None
    fair_weights: dict[str, float]
    max_record_bytes: int
    topics: tuple[CataloguedTopic, ...]
    job_types: tuple[CataloguedJobType, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CataloguedDependency:
    """A dependency of jobs, and its breaker in words."""

    name: str
    breaker: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CataloguedRegistry:
    """The Schema Registry in place of the schemas topic, and the subjects of the job types there."""

    address: str
    subjects: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """All that a pipeline declares; `topics` are those that belong to no single queue."""

    namespace: str
    description: str
    queues: tuple[CataloguedQueue, ...]
    topics: tuple[CataloguedTopic, ...]
    dependencies: tuple[CataloguedDependency, ...]
    schema_registry: CataloguedRegistry | None


def catalogue(pipeline: Pipeline, registry_url: str | None = None) -> Catalogue:
    """Describe a pipeline; no cluster is asked.

    Args:
        registry_url: of the Schema Registry; None keeps schemas in their topic.

    Raises:
        RegistrySettingRefused: the URL is none.
    """
    return Catalogue(
        namespace=pipeline.namespace,
        description=pipeline.description,
        queues=tuple(_queue(pipeline, queue) for queue in pipeline.queues.values()),
        topics=tuple(_topic(spec) for spec in pipeline_topics(pipeline, with_schemas=registry_url is None)),
        dependencies=tuple(
            CataloguedDependency(name=name, breaker=str(breaker)) for name, breaker in pipeline.dependencies.items()
        ),
        schema_registry=None if registry_url is None else _registry(pipeline, registry_url),
    )


def _registry(pipeline: Pipeline, url: str) -> CataloguedRegistry:
    subjects = tuple(subject_of(pipeline.namespace, name) for name in pipeline.job_types)
    return CataloguedRegistry(address=printable_address(url), subjects=subjects)


def _queue(pipeline: Pipeline, queue: Queue) -> CataloguedQueue:
    return CataloguedQueue(
        name=queue.name,
        description=queue.description,
        owner=queue.owner,
        runbook=queue.runbook,
        slo=_slo(queue.slo),
        escalation=queue.escalation,
        on_dead=_name(queue.on_dead),
        on_late=_name(queue.on_late),
        late_after_s=queue.late_s,
        group=queue.group,
        ordering=queue.ordering,
        route_by=queue.route_by,
        priorities=dict(queue.priorities),
        partitions=queue.partitions,
        replication=queue.replication,
        retention_s=queue.retention.total_seconds(),
        dead_retention_s=queue.dead_retention.total_seconds(),
        tiers=tuple(map(format_duration, queue.tiers)),
        crash_limit=queue.crash_limit,
        ledger_jobs=queue.ledger.jobs,
        ledger_age_s=queue.ledger.age.total_seconds(),
        session_timeout_s=None if queue.session_timeout is None else queue.session_timeout.total_seconds(),
        limits=_limits(queue.name, queue.limits),
        max_waiting=queue.max_waiting,
        when_full=queue.when_full,
        fair_by=None if queue.fairness is None else queue.fairness.by,
        fair_weights={} if queue.fairness is None else dict(queue.fairness.weights),
        max_record_bytes=max_record_bytes(pipeline, queue),
        topics=tuple(_topic(spec) for spec in queue_topics(pipeline, queue)),
        job_types=tuple(_job_type(job) for job in pipeline.job_types.values() if job.queue is queue),
    )


def _topic(spec: TopicSpec) -> CataloguedTopic:
    return CataloguedTopic(
        name=spec.name,
        role=spec.role.value,
        partitions=spec.partitions,
        replication=spec.replication,
        configs=dict(spec.configs),
    )


def _job_type(job: AnyJobType) -> CataloguedJobType:
    return CataloguedJobType(
        name=job.name,
        description=job.description,
        owner=job.owner,
        runbook=job.runbook,
        slo=_slo(job.slo),
        escalation=job.escalation,
        on_dead=_name(job.on_dead),
        on_late=_name(job.on_late),
        late_after_s=job.late_s,
        story_arguments=job.story_arguments,
        is_async=job.is_async,
        key=_label(job.key),
        tenant=_label(job.tenant),
        priority=job.priority,
        unique=_in_words(job.unique),
        limits=_limits(job.name, job.limits),
        cost=_label(job.cost) if callable(job.cost) else str(job.cost),
        breaker=_in_words(job.breaker),
        needs=job.needs,
        dead_guard=_in_words(job.dead_guard),
        timeout_s=job.timeout.total_seconds(),
        heartbeat_s=None if job.heartbeat is None else job.heartbeat.total_seconds(),
        isolation=job.isolation or "none",
        memory_limit_bytes=job.memory_limit_bytes,
        attempts=job.retry.attempts,
        tiers=tuple(map(format_duration, job.retry.tiers or job.queue.tiers)),
        permanent_errors=tuple(error.__name__ for error in job.retry.permanent),
        ignored_errors=tuple(error.__name__ for error in job.retry.ignored),
        max_payload_bytes=job.max_payload_bytes,
        compatibility=job.compatibility.value,
        schema_fingerprint=job.contract.fingerprint.hex(),
        fields=tuple(_field(found) for found in job.contract.schema["fields"]),
    )


def _name(follower: Follower | None) -> str:
    return "" if follower is None else follower.name


def _slo(slo: Slo | None) -> CataloguedSlo | None:
    if slo is None:
        return None
    wait_s, run_s = (None if time is None else time.total_seconds() for time in (slo.wait, slo.run))
    return CataloguedSlo(wait_s=wait_s, run_s=run_s, success=slo.success)


def _limits(owner: str, limits: Sequence[Limit]) -> dict[str, str]:
    return {name: str(limit) for name, limit in named_limits(owner, limits).items()}


def _in_words(rule: object | None) -> str:
    return "" if rule is None else str(rule)


def _label(declared: Callable[..., object] | str | None) -> str:
    if declared is None:
        return NOT_DECLARED
    if isinstance(declared, str):
        return f"by {declared}"
    name = getattr(declared, "__name__", "")
    return f"by {name}" if name.isidentifier() else "by a function"


def _field(declared: FieldSchema) -> CataloguedField:
    return CataloguedField(
        name=declared["name"], type=type_in_words(declared["type"]), required="default" not in declared
    )


def type_in_words(avro: Schema) -> str:
    """Write an Avro type for people.

    >>> type_in_words(["null", {"type": "array", "items": {"type": "long", "logicalType": "timestamp-micros"}}])
    'array of timestamp-micros or null'
    """
    if isinstance(avro, str):
        return avro
    if isinstance(avro, list):
        branches = [type_in_words(branch) for branch in avro if branch != "null"]
        return " or ".join([*branches, *(["null"] if "null" in avro else [])])
    return logical_type(avro) or _object_in_words(avro)


def _object_in_words(avro: ObjectSchema) -> str:
    if avro["type"] == "array":
        return f"array of {type_in_words(avro['items'])}"
    if avro["type"] == "map":
        return f"map of {type_in_words(avro['values'])}"
    return f"{avro['type']} {avro['name']}" if is_named(avro) else avro["type"]
