"""`Inventory`: the topics and groups of a pipeline on a cluster, read in one go for plan and verify."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..cluster.admin import Administration, FoundTopic
from ..declaration.pipeline import Pipeline
from ..declaration.queue import Queue
from ..declaration.topics import TopicSpec
from ..wire import names
from .group_settings import group_settings


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicState:
    """One topic as it is in the cluster.

    Attributes:
        replication: the fewest replicas that one of its partitions has.
        configs: what holds for it, the cluster's defaults included; empty where it was not asked for.
        overrides: names of the configs that were set on this topic.
    """

    partitions: int
    replication: int
    configs: Mapping[str, str] = field(default_factory=dict)
    overrides: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """A pipeline's part of a cluster.

    Attributes:
        topics: {topic: its state}.
        waiting: {topic of a retry tier, delay or priority that is not declared: jobs that wait there}.
        groups: {consumer group whose settings are declared: what holds for it}; left out where brokers keep none.
    """

    topics: Mapping[str, TopicState]
    waiting: Mapping[str, int] = field(default_factory=dict)
    groups: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def removed_tiers(queue: Queue, topics: Mapping[str, object]) -> list[str]:
    """Name the topics that look like a retry tier or a delay of the queue but are not declared any more."""
    declared = frozenset(queue.waiting_topics)
    prefixes = f"{queue.topic}{names.RETRY_INFIX}", f"{queue.topic}{names.DELAY_INFIX}"
    return sorted(name for name in topics if name.startswith(prefixes) and name not in declared)


def removed_priorities(queue: Queue, topics: Mapping[str, object]) -> list[str]:
    """Name the topics that look like those of a priority of the queue but are not declared any more."""
    declared, prefix = frozenset(queue.entry_topics), f"{queue.topic}."
    undeclared = [name for name in topics if name.startswith(prefix) and name not in declared]
    return sorted(name for name in undeclared if names.is_priority_name(name.removeprefix(prefix)))


def read_inventory(pipeline: Pipeline, administration: Administration) -> Inventory:
    """Read all topics under the pipeline's namespace, their configs, and what waits in removed tiers and priorities."""
    prefix = f"{pipeline.namespace}."
    found = {name: shape for name, shape in administration.all_topics().items() if name.startswith(prefix)}
    waiting: dict[str, int] = {}
    for queue in pipeline.queues.values():
        undeclared = [*removed_tiers(queue, found), *removed_priorities(queue, found)]
        removed = {name: found[name].partitions for name in undeclared}
        waiting |= administration.waiting(removed, queue.group)
        found = {name: shape for name, shape in found.items() if name not in removed or name in waiting}
    declared = [queue.group for queue in pipeline.queues.values() if group_settings(queue)]
    groups = administration.group_configs(declared)
    return Inventory(topics=_states(found, administration), waiting=waiting, groups=groups)


def read_topics(specs: list[TopicSpec], administration: Administration) -> Inventory:
    """Read the state of the named topics only: two requests."""
    found = administration.topics([spec.name for spec in specs])
    return Inventory(topics=_states(found, administration))


def _states(found: Mapping[str, FoundTopic], administration: Administration) -> dict[str, TopicState]:
    configs = administration.configs(found)
    return {
        name: TopicState(
            partitions=shape.partitions,
            replication=shape.replication,
            configs=configs[name].values,
            overrides=configs[name].overrides,
        )
        for name, shape in found.items()
        if name in configs
    }
