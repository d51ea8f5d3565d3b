"""The topics that a declaration asks for: their names, partitions, copies and configs. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final

from .limits import LONGEST_PER, declared_limits, is_reserved
from .pipeline import Pipeline
from .queue import Queue, RouteBy

HEADERS_ALLOWANCE_BYTES: Final = 64 * 1024
"""Room for a record's headers, key and framing; an error's stack, the largest of them, is bounded well below."""
DEFAULT_MAX_RECORD_BYTES: Final = 1_048_588
"""Kafka's own `max.message.bytes`."""
EVENTS_RETENTION: Final = timedelta(days=7)
EVENTS_PARTITIONS: Final = 4
ORDER_LAG: Final = timedelta(hours=1)
"""How long the log keeps each order at least, also one that was replaced since: a worker that was away finds it."""
LIFTED_FOR: Final = timedelta(days=7)
"""How long the log keeps it that an order was lifted."""
WORKERS_RETENTION: Final = timedelta(days=7)
STATS_RETENTION: Final = timedelta(hours=6)
"""How long statistics are kept, which reach back an hour: long enough to show since when there are no new ones."""
AUDIT_RETENTION: Final = timedelta(days=400)
"""How long it is kept who ordered what: a year, and what a yearly review needs beyond it."""
IN_SYNC_COPIES: Final = 2
"""Copies that must have a record before it counts as written, where there are three or more; one broker may be down."""
LEDGER_SEGMENT: Final = timedelta(hours=1)
"""The age of a segment of a queue's compacted topics: only what is in older segments is compacted."""
LEDGER_SEGMENT_BYTES: Final = 16 * 1024 * 1024
_OWN_RECORDS: Final = {"max.message.bytes": str(DEFAULT_MAX_RECORD_BYTES)}
"""Configs of topics that hold no jobs: with less, Stoker's own records may not fit, and a ledger without entries stops
all."""
ROUTE_MARK: Final = "min.compaction.lag.ms"
"""The config that marks a main topic with how its jobs are routed. It has no effect there: none is ever compacted."""
ROUTE_MARKS: Final[Mapping[RouteBy, str]] = {"key": "0", "tenant": "1"}
"""{routing: its mark}; "0" is what brokers take for a topic without one."""
_HOUR: Final = timedelta(hours=1)


class Role(StrEnum):
    """The purpose of a topic."""

    MAIN = "main"
    PRIORITY = "priority"
    RETRY = "retry"
    DELAY = "delay"
    CARRIED = "carried"
    DEAD = "dead"
    LEDGER = "ledger"
    PROGRESS = "progress"
    LIMITS = "limits"
    SCHEMAS = "schemas"
    EVENTS = "events"
    CONTROL = "control"
    WORKERS = "workers"
    AUDIT = "audit"
    SCHEDULES = "schedules"
    SHARES = "shares"
    STATS = "stats"


HOLDS_JOBS: Final = frozenset({Role.MAIN, Role.PRIORITY, Role.RETRY, Role.DELAY, Role.CARRIED, Role.DEAD})


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicSpec:
    """One topic as it is declared.

    Attributes:
        owner: name of its queue; for the pipeline's own topics their last word, which no queue can be named.
        replication: replicas of each record; None leaves it to the cluster.
        configs: the topic configs that the declaration fixes; all others are the cluster's business.
    """

    name: str
    role: Role
    owner: str
    partitions: int
    replication: int | None
    configs: Mapping[str, str]


def milliseconds(duration: timedelta) -> int:
    """A length of time as Kafka's configs want it."""
    return round(duration.total_seconds() * 1_000)


def max_record_bytes(pipeline: Pipeline, queue: Queue) -> int:
    """The largest record that the queue's topics must take: the largest payload of its job types, and its headers."""
    limits = [job.max_payload_bytes for job in pipeline.job_types.values() if job.queue is queue]
    return max([queue.max_payload_bytes, *limits]) + HEADERS_ALLOWANCE_BYTES


def declared_topics(pipeline: Pipeline, *, with_schemas: bool = True) -> list[TopicSpec]:
    """All topics of the pipeline, queue by queue, then its own.

    Args:
        with_schemas: False where a Schema Registry holds the schemas.
    """
    found = [spec for queue in pipeline.queues.values() for spec in queue_topics(pipeline, queue)]
    return [*found, *pipeline_topics(pipeline, with_schemas=with_schemas)]


def queue_topics(pipeline: Pipeline, queue: Queue) -> list[TopicSpec]:
    """The topics of one queue, the main topic first; all have the same number of partitions."""
    main_bytes = max(DEFAULT_MAX_RECORD_BYTES, max_record_bytes(pipeline, queue))
    # Whatever fits the main topic must fit these with the headers of a failure, though it was published by hand.
    later_bytes = main_bytes + HEADERS_ALLOWANCE_BYTES
    waiting = _job_configs(queue, queue.retention, later_bytes)
    dead = _job_configs(queue, queue.dead_retention, later_bytes)
    shapes = [(queue.topic, Role.MAIN, _job_configs(queue, queue.retention, main_bytes) | _route_mark(queue))]
    shapes += [(topic, Role.PRIORITY, waiting) for topic in queue.priority_topics.values()]
    shapes += [(topic, Role.RETRY, waiting) for topic in queue.retry_topics.values()]
    shapes += [(topic, Role.DELAY, waiting) for topic in queue.delay_topics.values()]
    shapes += [(queue.carried_topic, Role.CARRIED, waiting)]
    shapes += [(queue.dead_topic, Role.DEAD, dead), (queue.ledger_topic, Role.LEDGER, _ledger_configs(queue))]
    shapes += [(queue.progress_topic, Role.PROGRESS, _progress_configs(queue))]
    if reserves_limits(pipeline, queue):
        shapes += [(queue.limits_topic, Role.LIMITS, _limits_configs(queue))]
    return [
        TopicSpec(
            name=name,
            role=role,
            owner=queue.name,
            partitions=queue.partitions,
            replication=queue.replication,
            configs=configs,
        )
        for name, role, configs in shapes
    ]


def reserves_limits(pipeline: Pipeline, queue: Queue) -> bool:
    """Whether owners of the queue's partitions reserve what they use of its limits."""
    declared = declared_limits(pipeline.queues.values(), pipeline.job_types.values())
    return any(found.queue == queue.name and is_reserved(found.limit) for found in declared)


def pipeline_topics(pipeline: Pipeline, *, with_schemas: bool = True) -> list[TopicSpec]:
    """The topics that belong to no single queue; they have as many copies as the queue with the most."""
    replication = max((queue.replication or 0 for queue in pipeline.queues.values()), default=0) or None
    shapes = [
        (pipeline.schemas_topic, Role.SCHEMAS, 1, {"cleanup.policy": "compact"}),
        (pipeline.events_topic, Role.EVENTS, EVENTS_PARTITIONS, _kept_for(EVENTS_RETENTION)),
        (pipeline.control_topic, Role.CONTROL, 1, _control_configs()),
        (pipeline.workers_topic, Role.WORKERS, 1, _workers_configs()),
        (pipeline.audit_topic, Role.AUDIT, 1, _kept_for(AUDIT_RETENTION)),
        (pipeline.schedules_topic, Role.SCHEDULES, 1, _schedules_configs()),
    ]
    shapes.append((pipeline.stats_topic, Role.STATS, EVENTS_PARTITIONS, _stats_configs()))
    if pipeline.share_coordinators:
        shapes.append((pipeline.shares_topic, Role.SHARES, 1, _shares_configs()))
    return [
        TopicSpec(
            name=name,
            role=role,
            owner=role.value,
            partitions=partitions,
            replication=replication,
            configs={**configs, **_OWN_RECORDS, **_in_sync(replication)},
        )
        for name, role, partitions, configs in shapes
        if with_schemas or role is not Role.SCHEMAS
    ]


def _kept_for(retention: timedelta) -> dict[str, str]:
    return {"cleanup.policy": "delete", "retention.ms": str(milliseconds(retention))}


def _control_configs() -> dict[str, str]:
    """Orders stand until they are lifted, however long that is. The brokers' clock gives each its time."""
    return {
        "cleanup.policy": "compact",
        "segment.ms": str(milliseconds(LEDGER_SEGMENT)),
        "segment.bytes": str(LEDGER_SEGMENT_BYTES),
        "min.compaction.lag.ms": str(milliseconds(ORDER_LAG)),
        "delete.retention.ms": str(milliseconds(LIFTED_FOR)),
        "message.timestamp.type": "LogAppendTime",
    }


def _workers_configs() -> dict[str, str]:
    """The last status of each worker. How long a worker has been silent is measured by the brokers' clock."""
    return {
        "cleanup.policy": "compact,delete",
        "retention.ms": str(milliseconds(WORKERS_RETENTION)),
        "segment.ms": str(milliseconds(LEDGER_SEGMENT)),
        "segment.bytes": str(LEDGER_SEGMENT_BYTES),
        "message.timestamp.type": "LogAppendTime",
    }


def _stats_configs() -> dict[str, str]:
    """The last record of each key, written each second. How old statistics are is measured by the brokers' clock."""
    return {
        "cleanup.policy": "compact,delete",
        "retention.ms": str(milliseconds(STATS_RETENTION)),
        "segment.ms": str(milliseconds(LEDGER_SEGMENT)),
        "segment.bytes": str(LEDGER_SEGMENT_BYTES),
        "message.timestamp.type": "LogAppendTime",
    }


def _shares_configs() -> dict[str, str]:
    """For twice the longest window: a new coordinator reads what was used in it. The brokers' clock dates it."""
    return {
        **_kept_for(2 * LONGEST_PER),
        "segment.bytes": str(LEDGER_SEGMENT_BYTES),
        "message.timestamp.type": "LogAppendTime",
    }


def _schedules_configs() -> dict[str, str]:
    """The schedules, and what each has fired last, for as long as the schedule is there."""
    return {
        "cleanup.policy": "compact",
        "segment.ms": str(milliseconds(LEDGER_SEGMENT)),
        "segment.bytes": str(LEDGER_SEGMENT_BYTES),
        "delete.retention.ms": str(milliseconds(LIFTED_FOR)),
    }


def _job_configs(queue: Queue, retention: timedelta, record_bytes: int) -> dict[str, str]:
    return {
        "cleanup.policy": "delete",
        "retention.ms": str(milliseconds(retention)),
        # A record's age counts from its arrival: a publisher's wrong clock must not get its jobs deleted unrun.
        "message.timestamp.type": "LogAppendTime",
        "max.message.bytes": str(record_bytes),
        **_in_sync(queue.replication),
    }


def _route_mark(queue: Queue) -> dict[str, str]:
    return {} if queue.route_by == "key" else {ROUTE_MARK: ROUTE_MARKS[queue.route_by]}


def _ledger_configs(queue: Queue) -> dict[str, str]:
    """Remembered for the window's age, in whole hours; small segments, so that what is out of it goes soon."""
    hours = -(-queue.ledger.age // _HOUR)
    return {
        "cleanup.policy": "compact,delete",
        "retention.ms": str(milliseconds(hours * _HOUR)),
        "segment.ms": str(milliseconds(LEDGER_SEGMENT)),
        "segment.bytes": str(LEDGER_SEGMENT_BYTES),
        **_OWN_RECORDS,
        **_in_sync(queue.replication),
    }


def _progress_configs(queue: Queue) -> dict[str, str]:
    """Records of the progress topic never expire: a partition's progress is needed for as long as its jobs take."""
    return {
        "cleanup.policy": "compact",
        "segment.ms": str(milliseconds(LEDGER_SEGMENT)),
        "segment.bytes": str(LEDGER_SEGMENT_BYTES),
        **_OWN_RECORDS,
        **_in_sync(queue.replication),
    }


def _limits_configs(queue: Queue) -> dict[str, str]:
    """For twice the longest window: a new owner reads what was used in it. The brokers' clock dates it."""
    return {
        **_kept_for(2 * LONGEST_PER),
        "segment.bytes": str(LEDGER_SEGMENT_BYTES),
        "message.timestamp.type": "LogAppendTime",
        **_OWN_RECORDS,
        **_in_sync(queue.replication),
    }


def _in_sync(replication: int | None) -> dict[str, str]:
    return {"min.insync.replicas": str(IN_SYNC_COPIES)} if replication and replication > IN_SYNC_COPIES else {}
