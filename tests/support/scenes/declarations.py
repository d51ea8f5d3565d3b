"""Declarations for the tests of the topology, and inventories of imagined clusters."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Unpack

from stoker.topology import Pipeline
from stoker.topology.declaration.pipeline import QueueShape
from stoker.topology.declaration.topics import declared_topics
from stoker.topology.planning.inventory import Inventory, TopicState

TIERS = (timedelta(seconds=5), timedelta(minutes=1))


def shop(namespace: str = "shop", **shape: Unpack[QueueShape]) -> Pipeline:
    """A pipeline with one queue `mails` of two partitions and two tiers, and one job type on it."""
    pipeline = Pipeline(namespace)
    wanted: QueueShape = {"partitions": 2, "tiers": TIERS, **shape}
    mails = pipeline.queue("mails", **wanted)

    @pipeline.job(mails)
    def send_receipt(order_id: int) -> None:
        """Send the receipt of an order."""

    return pipeline


def as_declared(pipeline: Pipeline) -> dict[str, TopicState]:
    """The topics of a cluster that is exactly as the pipeline declares."""
    return {
        spec.name: TopicState(
            partitions=spec.partitions,
            replication=spec.replication or 1,
            configs=dict(spec.configs),
            overrides=frozenset(spec.configs),
        )
        for spec in declared_topics(pipeline)
    }


def with_config(state: TopicState, name: str, value: str) -> TopicState:
    """The topic with a config set by hand."""
    return replace(state, configs={**state.configs, name: value}, overrides=state.overrides | {name})


def cluster_with(topics: dict[str, TopicState], **changed: int) -> Inventory:
    """An inventory with other partition counts of the queue's topics, named by their last part; 0 leaves one out."""
    suffixes = {"main": "mails", "retry_5s": "mails.retry.5s", "retry_1m": "mails.retry.1m"}
    counts = {f"shop.{suffixes.get(name, f'mails.{name}')}": count for name, count in changed.items()}
    return Inventory(
        topics={
            name: replace(state, partitions=counts.get(name, state.partitions))
            for name, state in topics.items()
            if counts.get(name) != 0
        }
    )
