"""The check at the start of workers and producers: are the topics there, and can they carry what is declared?

Only what would lose, misplace or refuse jobs counts; `stoker topology plan` shows other drift.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from ..cluster.admin import Administration
from ..cluster.settings import ClusterSettings
from ..counts import counted
from ..declaration.pipeline import Pipeline
from ..declaration.queue import Queue
from ..declaration.topics import HOLDS_JOBS, Role, TopicSpec, pipeline_topics, queue_topics
from ..durations import format_retention
from .access import require_on_topics
from .inventory import Inventory, TopicState, read_topics
from .partition_counts import APPLY, how_to_fix
from .rights import Duty, rights_for
from .routing import ALLOW_REROUTE, marked_route

VERIFY_TIMEOUT_S: Final = 10.0
UNLIMITED: Final = -1


_COMPACTED_ONLY: Final = {
    Role.SCHEMAS: "old schemas",
    Role.PROGRESS: "the progress of partitions",
    Role.CONTROL: "orders that stand",
    Role.SCHEDULES: "schedules",
}
_OF_WORKERS: Final = frozenset({Role.CONTROL, Role.WORKERS, Role.SCHEDULES, Role.SHARES, Role.LIMITS})
"""A worker starts only with these: it takes and answers orders, fires schedules, and keeps limits."""
_BESIDE_JOBS: Final = frozenset({Role.EVENTS, Role.AUDIT, Role.STATS})
"""Jobs run without these, but no event or audit record of them is written, and no statistics are kept."""
_MAY_FORGET: Final = _BESIDE_JOBS | {Role.WORKERS}


class TopologyMismatch(Exception):
    """The cluster's topics do not carry what is declared; apply the topology, then start again.

    Attributes:
        findings: what is wrong, one sentence each, with the command that fixes it where it is another than `apply`.
    """

    def __init__(self, namespace: str, findings: list[str]) -> None:
        listed = "".join(f"\n  - {finding}" for finding in findings)
        super().__init__(
            f"the topics of {namespace!r} do not match the declaration:{listed}\n"
            f"Run `{APPLY}` (`stoker topology plan` shows beforehand what it would do)."
        )
        self.namespace, self.findings = namespace, findings


def verify(
    pipeline: Pipeline,
    cluster: ClusterSettings,
    queue_names: Collection[str] | None = None,
    *,
    duty: Duty | None = None,
    timeout_s: float = VERIFY_TIMEOUT_S,
) -> None:
    """Check that the cluster's topics can carry the named queues (all of them, when none are named).

    Args:
        duty: see also that the client has the rights on topics that it needs.
        timeout_s: how long each of the requests may take.

    Raises:
        TopologyMismatch: they cannot; all findings together.
        UnknownName: the pipeline has no such queue.
        ClusterUnreachable, NotAuthorized: the cluster does not answer.
    """
    queues = [pipeline.find_queue(name) for name in queue_names or pipeline.queues]
    with_schemas = cluster.schema_registry_url is None
    specs = [spec for queue in queues for spec in queue_topics(pipeline, queue)]
    specs += pipeline_topics(pipeline, with_schemas=with_schemas)
    administration = Administration(cluster, timeout_s)
    if duty is not None:
        rights = rights_for(duty, pipeline, queues, with_schemas=with_schemas)
        require_on_topics(rights, [spec.name for spec in specs], cluster, administration)
    beside = _BESIDE_JOBS if duty is Duty.WORKER else _BESIDE_JOBS | _OF_WORKERS
    needed = [spec for spec in specs if spec.role not in beside]
    findings = mismatches(queues, needed, read_topics(needed, administration))
    if findings:
        raise TopologyMismatch(pipeline.namespace, findings)


def mismatches(queues: Collection[Queue], specs: Collection[TopicSpec], inventory: Inventory) -> list[str]:
    """Say what in the cluster would lose, misplace or refuse jobs; empty when all is well. Pure."""
    missing = [f"topic {spec.name} does not exist" for spec in specs if spec.name not in inventory.topics]
    unequal = [finding for queue in queues for finding in _unequal_partitions(queue, specs, inventory)]
    harmful = [
        finding
        for spec in specs
        if (state := inventory.topics.get(spec.name)) is not None
        for finding in _harmful_configs(spec, state)
    ]
    return [*missing, *unequal, *_misrouted(queues, inventory), *harmful]


def _misrouted(queues: Iterable[Queue], inventory: Inventory) -> list[str]:
    """Two routings at once split the jobs of a key or tenant between two partitions."""
    found = {queue: marked_route(state) for queue in queues if (state := inventory.topics.get(queue.topic)) is not None}
    return [
        f"the jobs of topic {queue.topic} are routed by {route}, declared is by {queue.route_by}; "
        f"`{APPLY} {ALLOW_REROUTE} {queue.name}` fixes it, once the queue is drained"
        for queue, route in found.items()
        if route != queue.route_by
    ]


def _unequal_partitions(queue: Queue, specs: Collection[TopicSpec], inventory: Inventory) -> list[str]:
    """A record keeps its partition number for life, so the topics of a queue must agree on how many there are."""
    counts = {spec.name: inventory.topics[spec.name].partitions for spec in _present(queue, specs, inventory)}
    expected = counts.get(queue.topic)
    if expected is None:
        return []
    remedy = "" if expected == queue.partitions else f"; {how_to_fix(queue, expected)}"
    return [
        f"topic {name} has {counted(count, 'partition')}, the main topic {queue.topic} has {expected}{remedy}"
        for name, count in counts.items()
        if count != expected
    ]


def _present(queue: Queue, specs: Collection[TopicSpec], inventory: Inventory) -> list[TopicSpec]:
    return [spec for spec in specs if spec.owner == queue.name and spec.name in inventory.topics]


def _harmful_configs(spec: TopicSpec, state: TopicState) -> list[str]:
    checks = (_too_small(spec, state), _compacted(spec, state), _forgetful(spec, state))
    return [finding for finding in checks if finding]


def _too_small(spec: TopicSpec, state: TopicState) -> str | None:
    needed, given = spec.configs.get("max.message.bytes"), state.configs.get("max.message.bytes")
    if needed is None or given is None or int(given) >= int(needed):
        return None
    who = "the job types need" if spec.role in HOLDS_JOBS else "its records need up to"
    return f"topic {spec.name} takes records of {given} bytes (max.message.bytes); {who} {needed}"


def _compacted(spec: TopicSpec, state: TopicState) -> str | None:
    policy = state.configs.get("cleanup.policy", "")
    if spec.role in HOLDS_JOBS and "compact" in policy:
        return f"topic {spec.name} is compacted (cleanup.policy={policy}), which loses all jobs of a key but the last"
    if spec.role in _COMPACTED_ONLY and "delete" in policy:
        what = _COMPACTED_ONLY[spec.role]
        return f"topic {spec.name} forgets {what} (cleanup.policy={policy}); it must be compacted only"
    return None


def _forgetful(spec: TopicSpec, state: TopicState) -> str | None:
    declared, kept = spec.configs.get("retention.ms"), state.configs.get("retention.ms")
    if declared is None or kept is None or spec.role in _MAY_FORGET or not is_shorter(int(kept), int(declared)):
        return None
    return (
        f"topic {spec.name} keeps records for {format_retention(int(kept))}, declared are "
        f"{format_retention(int(declared))}"
    )


def is_shorter(retention_ms: int, than_ms: int) -> bool:
    """Compare retentions as Kafka means them: -1 is for ever."""
    if retention_ms == UNLIMITED:
        return False
    return than_ms == UNLIMITED or retention_ms < than_ms
