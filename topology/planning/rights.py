"""The rights that each duty needs on a cluster with an authorizer: one table for administrators and tests.

The rights are the fewest with which a duty can be done. Kafka grants Describe along with Read, Write, Delete and
Alter, and DescribeConfigs along with AlterConfigs, so those are named only where nothing else brings them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from ..declaration.job_type import AnyJobType
from ..declaration.pipeline import Pipeline
from ..declaration.queue import Queue
from ..declaration.topics import reserves_limits


class Operation(StrEnum):
    """Kafka's names of the operations."""

    READ = "Read"
    WRITE = "Write"
    CREATE = "Create"
    DELETE = "Delete"
    ALTER = "Alter"
    DESCRIBE = "Describe"
    DESCRIBE_CONFIGS = "DescribeConfigs"
    ALTER_CONFIGS = "AlterConfigs"


class Resource(StrEnum):
    """The kind of resource of an operation, as the tool `kafka-acls` names it."""

    TOPIC = "topic"
    GROUP = "group"
    TRANSACTIONAL_ID = "transactional-id"
    CLUSTER = "cluster"


class Duty(StrEnum):
    """The work of a part of Stoker that may have a principal of its own."""

    PRODUCER = "producer"
    WORKER = "worker"
    QUEUES = "queues"
    DEAD_LIST = "dead-list"
    DEAD_REPLAY = "dead-replay"
    DEAD_DISCARD = "dead-discard"
    REPLAY = "replay"
    DOCTOR = "doctor"
    AUDIT_LOG = "audit-log"
    CONTROL = "control"
    CONTROL_LIST = "control-list"
    WORKERS_LIST = "workers-list"
    SCHEDULES = "schedules"
    SCHEDULES_LIST = "schedules-list"
    STATISTICS = "statistics"
    STATISTICS_SHOW = "statistics-show"
    SCHEMAS_CHECK = "schemas-check"
    PLAN = "plan"
    APPLY = "apply"


@dataclass(frozen=True, slots=True, kw_only=True)
class Right:
    """One operation on one resource, or on all resources whose names begin alike.

    Attributes:
        name: of the resource; in the table, `{namespace}` and `{queue}` stand for names.
        is_prefix: whether it is the beginning of names.
    """

    operation: Operation
    resource: Resource
    name: str
    is_prefix: bool = False

    def of(self, namespace: str, queue: str = "") -> Right:
        """The right with the names put in."""
        return replace(self, name=self.name.format(namespace=namespace, queue=queue))

    def covers(self, resource: Resource, name: str) -> bool:
        """Whether it is about this one."""
        matches = name.startswith(self.name) if self.is_prefix else name == self.name
        return self.resource is resource and matches

    @property
    def where(self) -> str:
        """The resource in words, such as `topic shop.mails` or `topic shop.*`."""
        return f"{self.resource} {self.name}{'*' if self.is_prefix else ''}"

    def __str__(self) -> str:
        return f"{self.operation} on {self.where}"


def _on(resource: Resource, name: str, *operations: Operation) -> list[Right]:
    """Rights on one resource; a star ends a prefix."""
    plain = name.removesuffix("*")
    return [
        Right(operation=operation, resource=resource, name=plain, is_prefix=plain != name) for operation in operations
    ]


_O, _R = Operation, Resource
_EVERYTHING: Final = "{namespace}.*"
_MAIN: Final = "{namespace}.{queue}"
_TIERS: Final = "{namespace}.{queue}.retry.*"
_DELAYS: Final = "{namespace}.{queue}.delay.*"
_CARRIED: Final = "{namespace}.{queue}.carried"
_DEAD: Final = "{namespace}.{queue}.dead"
_SCHEMAS: Final = "{namespace}.schemas"
_EVENTS: Final = "{namespace}.events"
_CONTROL: Final = "{namespace}.control"
_WORKERS: Final = "{namespace}.workers"
_AUDIT: Final = "{namespace}.audit"
_SCHEDULES: Final = "{namespace}.schedules"
_SHARES: Final = "{namespace}.shares"
_STATS: Final = "{namespace}.stats"
_LIMITS: Final = "{namespace}.{queue}.limits"

RIGHTS: Final[Mapping[Duty, tuple[Right, ...]]] = {
    Duty.PRODUCER: (
        *_on(_R.TOPIC, _EVERYTHING, _O.DESCRIBE, _O.DESCRIBE_CONFIGS),
        *_on(_R.TOPIC, _MAIN, _O.WRITE),
        *_on(_R.TOPIC, _SCHEMAS, _O.READ),
    ),
    Duty.WORKER: (
        *_on(_R.TOPIC, _EVERYTHING, _O.DESCRIBE_CONFIGS),
        *_on(_R.TOPIC, _MAIN, _O.READ),
        *_on(_R.TOPIC, _TIERS, _O.READ, _O.WRITE),
        *_on(_R.TOPIC, _DELAYS, _O.READ, _O.WRITE),
        *_on(_R.TOPIC, _CARRIED, _O.READ, _O.WRITE),
        *_on(_R.TOPIC, "{namespace}.{queue}.ledger", _O.READ, _O.WRITE),
        *_on(_R.TOPIC, "{namespace}.{queue}.progress", _O.READ, _O.WRITE),
        *_on(_R.TOPIC, _DEAD, _O.WRITE),
        *_on(_R.TOPIC, _SCHEMAS, _O.READ),
        *_on(_R.TOPIC, _EVENTS, _O.WRITE),
        *_on(_R.TOPIC, _CONTROL, _O.READ, _O.WRITE),
        *_on(_R.TOPIC, _WORKERS, _O.WRITE),
        *_on(_R.TOPIC, _SCHEDULES, _O.READ),
        *_on(_R.GROUP, _MAIN, _O.READ),
    ),
    Duty.QUEUES: (
        *_on(_R.TOPIC, _MAIN, _O.READ),
        *_on(_R.TOPIC, _TIERS, _O.READ),
        *_on(_R.TOPIC, _DELAYS, _O.READ),
        *_on(_R.TOPIC, _CARRIED, _O.READ),
        *_on(_R.TOPIC, _DEAD, _O.READ),
        *_on(_R.GROUP, _MAIN, _O.DESCRIBE),
    ),
    Duty.DEAD_LIST: (
        *_on(_R.TOPIC, _DEAD, _O.READ),
        *_on(_R.TOPIC, _SCHEMAS, _O.READ),
    ),
    Duty.DEAD_REPLAY: (
        *_on(_R.TOPIC, _MAIN, _O.WRITE),
        *_on(_R.TOPIC, _DEAD, _O.READ, _O.WRITE),
        *_on(_R.TOPIC, _SCHEMAS, _O.READ),
        *_on(_R.TOPIC, _AUDIT, _O.WRITE),
        *_on(_R.TRANSACTIONAL_ID, "{namespace}.{queue}.dead", _O.WRITE),
    ),
    Duty.DEAD_DISCARD: (
        *_on(_R.TOPIC, _DEAD, _O.READ, _O.WRITE),
        *_on(_R.TOPIC, _AUDIT, _O.WRITE),
        *_on(_R.TRANSACTIONAL_ID, "{namespace}.{queue}.dead", _O.WRITE),
    ),
    Duty.REPLAY: (
        *_on(_R.TOPIC, _MAIN, _O.READ, _O.WRITE),
        *_on(_R.TOPIC, _AUDIT, _O.WRITE),
        *_on(_R.GROUP, "{namespace}.{queue}.replay.*", _O.READ),
        *_on(_R.TRANSACTIONAL_ID, "{namespace}.{queue}.replay.*", _O.WRITE),
    ),
    Duty.DOCTOR: (
        *_on(_R.TOPIC, _EVERYTHING, _O.DESCRIBE, _O.DESCRIBE_CONFIGS),
        *_on(_R.TOPIC, _MAIN, _O.READ),
        *_on(_R.TOPIC, _TIERS, _O.READ),
        *_on(_R.TOPIC, _DELAYS, _O.READ),
        *_on(_R.TOPIC, _CARRIED, _O.READ),
        *_on(_R.TOPIC, _DEAD, _O.READ),
        *_on(_R.TOPIC, _SCHEMAS, _O.READ),
        *_on(_R.TOPIC, _EVENTS, _O.READ),
        *_on(_R.TOPIC, _CONTROL, _O.READ),
        *_on(_R.TOPIC, _WORKERS, _O.READ),
        *_on(_R.GROUP, _MAIN, _O.DESCRIBE, _O.DESCRIBE_CONFIGS),
        *_on(_R.CLUSTER, "kafka-cluster", _O.DESCRIBE_CONFIGS),
    ),
    Duty.AUDIT_LOG: (
        *_on(_R.TOPIC, _AUDIT, _O.READ),
        *_on(_R.TOPIC, _CONTROL, _O.READ),
    ),
    Duty.CONTROL: (
        *_on(_R.TOPIC, _CONTROL, _O.READ, _O.WRITE),
        *_on(_R.TOPIC, _AUDIT, _O.READ, _O.WRITE),
        *_on(_R.TOPIC, _WORKERS, _O.READ),
        *_on(_R.TRANSACTIONAL_ID, "{namespace}.control.*", _O.WRITE),
    ),
    Duty.CONTROL_LIST: (
        *_on(_R.TOPIC, _CONTROL, _O.READ),
        *_on(_R.TOPIC, _WORKERS, _O.READ),
    ),
    Duty.WORKERS_LIST: (*_on(_R.TOPIC, _WORKERS, _O.READ),),
    Duty.SCHEDULES: (
        *_on(_R.TOPIC, _EVERYTHING, _O.DESCRIBE, _O.DESCRIBE_CONFIGS),
        *_on(_R.TOPIC, _SCHEDULES, _O.READ, _O.WRITE),
        *_on(_R.TOPIC, _AUDIT, _O.WRITE),
        *_on(_R.TOPIC, _MAIN, _O.WRITE),
        *_on(_R.TOPIC, _SCHEMAS, _O.READ),
        *_on(_R.TRANSACTIONAL_ID, "{namespace}.schedules.*", _O.WRITE),
    ),
    Duty.SCHEDULES_LIST: (*_on(_R.TOPIC, _SCHEDULES, _O.READ),),
    Duty.STATISTICS: (
        *_on(_R.TOPIC, _EVENTS, _O.READ),
        *_on(_R.TOPIC, _STATS, _O.READ, _O.WRITE),
        *_on(_R.GROUP, _STATS, _O.READ),
    ),
    Duty.STATISTICS_SHOW: (*_on(_R.TOPIC, _STATS, _O.READ),),
    Duty.SCHEMAS_CHECK: (*_on(_R.TOPIC, _SCHEMAS, _O.READ),),
    Duty.PLAN: (
        *_on(_R.TOPIC, _EVERYTHING, _O.DESCRIBE, _O.DESCRIBE_CONFIGS),
        *_on(_R.TOPIC, _SCHEMAS, _O.READ),
        *_on(_R.TOPIC, _SCHEDULES, _O.READ),
        *_on(_R.GROUP, _MAIN, _O.DESCRIBE, _O.DESCRIBE_CONFIGS),
    ),
    Duty.APPLY: (
        *_on(_R.TOPIC, _EVERYTHING, _O.CREATE, _O.ALTER, _O.ALTER_CONFIGS, _O.DELETE),
        *_on(_R.TOPIC, _SCHEMAS, _O.READ, _O.WRITE),
        *_on(_R.TOPIC, _SCHEDULES, _O.READ),
        *_on(_R.TOPIC, _AUDIT, _O.WRITE),
        *_on(_R.GROUP, _MAIN, _O.DESCRIBE, _O.ALTER_CONFIGS),
    ),
}
"""{duty: what it needs}, for each queue that it is to work with."""
FIRING: Final[tuple[Right, ...]] = (
    *_on(_R.TOPIC, _SCHEDULES, _O.WRITE),
    *_on(_R.TOPIC, _MAIN, _O.WRITE),
    *_on(_R.TRANSACTIONAL_ID, "{namespace}.{queue}.schedules", _O.WRITE),
)
"""The further rights of a worker, for each of its queues that has schedules."""
ADMITTING: Final[tuple[Right, ...]] = (*_on(_R.GROUP, _MAIN, _O.DESCRIBE),)
"""The further right of a producer, for each of its queues with `max_waiting`; without it, all jobs are admitted."""
ORDERING: Final[tuple[Right, ...]] = (*_on(_R.TOPIC, _AUDIT, _O.WRITE),)
"""The further rights of a worker that may open a breaker, or pause a job type for its dead letters."""

FOLLOWING: Final[tuple[Right, ...]] = (
    *_on(_R.TOPIC, _MAIN, _O.WRITE),
    *_on(_R.TOPIC, _SCHEMAS, _O.WRITE),
    *_on(_R.TOPIC, _AUDIT, _O.WRITE),
)
"""The further rights of a worker, for each queue of a job type that follows those of its queues."""

REMOVING: Final[tuple[Right, ...]] = (*_on(_R.TRANSACTIONAL_ID, "{namespace}.control.*", _O.WRITE),)
"""The further right of a worker, with which it removes orders that have nothing left to do."""

RESERVING: Final[tuple[Right, ...]] = (*_on(_R.TOPIC, _LIMITS, _O.READ, _O.WRITE),)
"""The further rights of a worker, for each of its queues with limits by key or tenant whose windows are long."""

SHARING: Final[tuple[Right, ...]] = (*_on(_R.TOPIC, _SHARES, _O.READ, _O.WRITE),)
"""The further rights of a worker, where workers share limits."""


def rights_for(
    duty: Duty, pipeline: Pipeline, queues: Iterable[Queue] | None = None, *, with_schemas: bool = True
) -> list[Right]:
    """The rights of a duty for some queues of a pipeline (all, unless given), each once.

    Of workers, those of firing are among them for the queues for which the application declares schedules, and those of
    orders of their own where it declares breakers or guards; of producers, those of reading how many jobs wait, for the
    queues that declare `max_waiting`. Workers that share limits have those of sharing, and workers that reserve what
    they use of limits have those of reserving.

    Args:
        with_schemas: False where a Schema Registry holds the schemas.
    """
    chosen = list(pipeline.queues.values() if queues is None else queues)
    found = _of_queues(RIGHTS[duty], pipeline, chosen)
    if duty is Duty.WORKER:
        found += _further_of_workers(pipeline, chosen)
    if duty is Duty.PRODUCER:
        found += _of_queues(ADMITTING, pipeline, [queue for queue in chosen if queue.max_waiting is not None])
    wanted = (right for right in found if with_schemas or right.name != pipeline.schemas_topic)
    return list(dict.fromkeys(wanted))


def _further_of_workers(pipeline: Pipeline, queues: Sequence[Queue]) -> list[Right]:
    return [
        *_of_queues(REMOVING, pipeline, queues),
        *_of_queues(FIRING, pipeline, [queue for queue in queues if _has_schedules(pipeline, queue)]),
        *_of_queues(ORDERING, pipeline, [queue for queue in queues if _may_order(pipeline, queue)]),
        *_of_queues(FOLLOWING, pipeline, _queues_of_followers(pipeline, queues)),
        *_of_queues(RESERVING, pipeline, [queue for queue in queues if reserves_limits(pipeline, queue)]),
        *_of_queues(SHARING, pipeline, queues if pipeline.share_coordinators else []),
    ]


def _queues_of_followers(pipeline: Pipeline, queues: Sequence[Queue]) -> list[Queue]:
    followed: list[AnyJobType | Queue] = [found for found in pipeline.job_types.values() if found.queue in queues]
    named = [one for found in [*followed, *queues] for one in (found.on_dead, found.on_late) if one is not None]
    return [pipeline.job_types[one.name].queue for one in named]


def _of_queues(rights: Iterable[Right], pipeline: Pipeline, queues: Iterable[Queue]) -> list[Right]:
    chosen = list(queues)
    return [found for right in rights for queue in chosen for found in _of_queue(right, pipeline, queue)]


def _of_queue(right: Right, pipeline: Pipeline, queue: Queue) -> list[Right]:
    """A right for one queue; what is needed on its main topic is needed on those of its priorities as well."""
    found = right.of(pipeline.namespace, queue.name)
    if right.resource is not Resource.TOPIC or right.name != _MAIN:
        return [found]
    return [replace(found, name=topic) for topic in queue.entry_topics]


def _may_order(pipeline: Pipeline, queue: Queue) -> bool:
    job_types = pipeline.job_types.values()
    return bool(pipeline.dependencies) or any(
        found.queue is queue and (found.breaker is not None or found.dead_guard is not None) for found in job_types
    )


def _has_schedules(pipeline: Pipeline, queue: Queue) -> bool:
    return any(schedule.queue is queue for schedule in pipeline.schedules.values())
