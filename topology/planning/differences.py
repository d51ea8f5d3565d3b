"""The rules of planning: what apply fixes, what it refuses without permission, what it only reports. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from ..counts import counted, counted_doing
from ..declaration.pipeline import Pipeline
from ..declaration.queue import Queue
from ..declaration.topics import ROUTE_MARK, Role, TopicSpec, declared_topics, pipeline_topics, queue_topics
from ..durations import format_retention
from ..wire.names import RETRY_INFIX
from .findings import Allowed, CreateTopic, DeleteTier, Group, PlanFinding, SetConfig
from .group_settings import group_findings
from .inventory import Inventory, TopicState, removed_priorities, removed_tiers
from .partition_counts import blocks_creation, partition_findings
from .routing import routing_findings
from .verify import is_shorter

RETENTION: Final = "retention.ms"
RECORD_BYTES: Final = "max.message.bytes"
POLICY: Final = "cleanup.policy"


def queue_findings(pipeline: Pipeline, queue: Queue, inventory: Inventory, allowed: Allowed) -> list[PlanFinding]:
    """Compare one queue's topics, its removed tiers and priorities included."""
    specs = queue_topics(pipeline, queue)
    counts = partition_findings(queue, specs, inventory, allowed)
    missing = [_missing(spec) for spec in specs if spec.name not in inventory.topics]
    if blocks_creation(queue, counts, inventory):
        missing = [_blocked(finding) for finding in missing]
    tiers = [_removed_tier(queue, topic, inventory, allowed) for topic in removed_tiers(queue, inventory.topics)]
    priorities = [_removed_priority(queue, topic, inventory, allowed) for topic in _left_full(queue, inventory)]
    group = group_findings(queue, inventory.groups.get(queue.group))
    routing = routing_findings(queue, inventory, allowed)
    return [*missing, *counts, *routing, *_state_findings(specs, inventory, allowed), *group, *tiers, *priorities]


def pipeline_findings(
    pipeline: Pipeline, inventory: Inventory, allowed: Allowed, *, with_schemas: bool
) -> list[PlanFinding]:
    """Compare the topics that belong to no single queue."""
    specs = pipeline_topics(pipeline, with_schemas=with_schemas)
    missing = [_missing(spec) for spec in specs if spec.name not in inventory.topics]
    counts = [
        _partition_drift(spec, state)
        for spec in specs
        if (state := inventory.topics.get(spec.name)) is not None and state.partitions != spec.partitions
    ]
    return [*missing, *counts, *_state_findings(specs, inventory, allowed)]


def unmanaged_findings(pipeline: Pipeline, inventory: Inventory) -> list[PlanFinding]:
    """Name the topics of the namespace that nothing declares; apply never touches them."""
    queues = pipeline.queues.values()
    declared = {spec.name for spec in declared_topics(pipeline)}
    removed = {name for queue in queues for name in removed_tiers(queue, inventory.topics)}
    removed |= {name for queue in queues for name in _left_full(queue, inventory)}
    prefixes = tuple(f"{queue.topic}." for queue in queues)
    return [_unmanaged(name, prefixes) for name in sorted(set(inventory.topics) - declared - removed)]


def _unmanaged(topic: str, queue_prefixes: tuple[str, ...]) -> PlanFinding:
    why = "is none of its queue's topics" if topic.startswith(queue_prefixes) else "belongs to no declared queue"
    return PlanFinding(
        group=Group.UNMANAGED,
        topic=topic,
        owner=None,
        setting="topic",
        found=None,
        declared=None,
        reason=f"{why}; apply leaves it alone, so delete it by hand if nobody needs it",
    )


def _missing(spec: TopicSpec) -> PlanFinding:
    replicas = "" if spec.replication is None else f", {counted(spec.replication, 'replica')}"
    kept = f", kept {format_retention(int(spec.configs[RETENTION]))}" if RETENTION in spec.configs else ""
    return PlanFinding(
        group=Group.CREATE,
        topic=spec.name,
        owner=spec.owner,
        setting="topic",
        found=None,
        declared=spec.role.value,
        reason=f"{_PURPOSES[spec.role]}; {counted(spec.partitions, 'partition')}{replicas}{kept}",
        step=CreateTopic(spec=spec),
    )


_PURPOSES: Final = {
    Role.MAIN: "main topic",
    Role.PRIORITY: "jobs of a priority",
    Role.RETRY: "retry tier",
    Role.DELAY: "delayed jobs",
    Role.CARRIED: "waiting jobs, carried forward before they are too old",
    Role.DEAD: "dead letters",
    Role.LEDGER: "ledger of completed jobs, compacted",
    Role.PROGRESS: "progress that does not fit a commit, compacted",
    Role.LIMITS: "what is used of limits by key and tenant",
    Role.SCHEMAS: "schemas of all job types, compacted",
    Role.EVENTS: "the history of jobs",
    Role.CONTROL: "orders that stand, compacted",
    Role.WORKERS: "status of each worker, compacted",
    Role.AUDIT: "who did what, kept for 400 days",
    Role.SCHEDULES: "schedules, and what each has fired last, compacted",
    Role.SHARES: "the shares that workers have of limits",
    Role.STATS: "statistics of the last hour, compacted",
}


def _blocked(finding: PlanFinding) -> PlanFinding:
    """A topic cannot be created while it is open with how many partitions its queue goes on."""
    reason = "it does not exist, and cannot be created before the partition count of its queue is settled"
    return replace(finding, group=Group.REFUSED, reason=reason, step=None)


def _left_full(queue: Queue, inventory: Inventory) -> list[str]:
    """The removed priorities in which jobs wait; an empty one is a topic like any other that nothing declares."""
    return [name for name in removed_priorities(queue, inventory.topics) if inventory.waiting.get(name)]


def _removed_priority(queue: Queue, topic: str, inventory: Inventory, allowed: Allowed) -> PlanFinding:
    found = _removed(queue, topic, "topic of a priority", inventory)
    return _abandoned(queue, found, "priority", allowed)


def _removed_tier(queue: Queue, topic: str, inventory: Inventory, allowed: Allowed) -> PlanFinding:
    what = "retry tier" if topic.startswith(f"{queue.topic}{RETRY_INFIX}") else "delay topic"
    found = _removed(queue, topic, what, inventory)
    if inventory.waiting.get(topic):
        return _abandoned(queue, found, "tier", allowed)
    if allowed.empty_tier_deletion:
        return replace(found, group=Group.CHANGE, step=DeleteTier(topic=topic, group=queue.group))
    return replace(found, reason=f"{found.reason}, so `--delete-empty-tiers` would delete it")


def _removed(queue: Queue, topic: str, what: str, inventory: Inventory) -> PlanFinding:
    waiting = inventory.waiting.get(topic, 0)
    return PlanFinding(
        group=Group.UNMANAGED,
        topic=topic,
        owner=queue.name,
        setting="topic",
        found=what,
        declared=None,
        reason=f"{what} that is not declared any more; {counted_doing(waiting, 'job', 'wait')} in it",
    )


def _abandoned(queue: Queue, found: PlanFinding, what: str, allowed: Allowed) -> PlanFinding:
    """Jobs wait in a topic that no worker reads any more."""
    if queue.name in allowed.tier_removal:
        return replace(found, reason=f"{found.reason} unread, until their retention deletes them")
    reason = f"{found.reason}, which no worker would read; declare the {what} until it is drained"
    return replace(found, group=Group.REFUSED, reason=reason, flag=f"--allow-tier-removal {queue.name}")


def _partition_drift(spec: TopicSpec, state: TopicState) -> PlanFinding:
    found, declared = str(state.partitions), str(spec.partitions)
    return _drift(spec, "partitions", found, declared, "harmless, so apply leaves it alone")


def _drift(spec: TopicSpec, setting: str, found: str, declared: str | None, reason: str) -> PlanFinding:
    return PlanFinding(
        group=Group.DRIFT,
        topic=spec.name,
        owner=spec.owner,
        setting=setting,
        found=found,
        declared=declared,
        reason=reason,
    )


def _state_findings(specs: Sequence[TopicSpec], inventory: Inventory, allowed: Allowed) -> Iterable[PlanFinding]:
    for spec in specs:
        state = inventory.topics.get(spec.name)
        if state is not None:
            yield from _replication(spec, state)
            yield from _configs(spec, state, allowed)
            yield from _strange_overrides(spec, state)


def _replication(spec: TopicSpec, state: TopicState) -> Iterable[PlanFinding]:
    if spec.replication in (None, state.replication):
        return
    reason = "moving replicas between brokers is the work of kafka-reassign-partitions, so apply leaves it alone"
    yield _drift(spec, "replication", str(state.replication), str(spec.replication), reason)


def _strange_overrides(spec: TopicSpec, state: TopicState) -> Iterable[PlanFinding]:
    reason = "set on the topic and not by the declaration, so apply leaves it alone"
    for name in sorted(state.overrides - set(spec.configs) - _own_rules(spec)):
        yield _drift(spec, name, state.configs[name], None, reason)


def _own_rules(spec: TopicSpec) -> frozenset[str]:
    """The configs that another rule compares."""
    return frozenset({ROUTE_MARK}) if spec.role is Role.MAIN else frozenset()


def _configs(spec: TopicSpec, state: TopicState, allowed: Allowed) -> Iterable[PlanFinding]:
    for name, declared in spec.configs.items():
        found = state.configs.get(name)
        if found is not None and name not in _own_rules(spec) and not _is_same(name, found, declared):
            yield _config_finding(spec, name, found, allowed)


def _is_same(name: str, found: str, declared: str) -> bool:
    return set(found.split(",")) == set(declared.split(",")) if name == POLICY else found == declared


def _config_finding(spec: TopicSpec, name: str, found: str, allowed: Allowed) -> PlanFinding:
    declared = spec.configs[name]
    change = PlanFinding(
        group=Group.CHANGE,
        topic=spec.name,
        owner=spec.owner,
        setting=name,
        found=_in_words(name, found),
        declared=_in_words(name, declared),
        reason="apply sets it",
        step=SetConfig(topic=spec.name, name=name, value=declared),
    )
    if name == RECORD_BYTES and int(found) > int(declared):
        return replace(change, group=Group.DRIFT, reason="larger is harmless, so apply leaves it alone", step=None)
    if name == RETENTION and _loses_records(spec, found, declared) and spec.owner not in allowed.shorter_retention:
        reason = "records older than that are deleted, jobs that still wait among them"
        flag = f"--allow-shorter-retention {spec.owner}"
        return replace(change, group=Group.REFUSED, reason=reason, flag=flag, step=None)
    return change


def _loses_records(spec: TopicSpec, found: str, declared: str) -> bool:
    """A ledger's records out of its window are of no use to anybody."""
    return spec.role is not Role.LEDGER and is_shorter(int(declared), int(found))


def _in_words(name: str, value: str) -> str:
    return format_retention(int(value)) if name.endswith(".ms") else value
