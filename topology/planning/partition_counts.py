"""The rules for a queue's number of partitions, the one figure that keys, ledgers and retries all hang on. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from ..declaration.queue import Queue
from ..declaration.topics import TopicSpec
from .findings import Allowed, Group, GrowTopic, PlanFinding
from .inventory import Inventory

APPLY: Final = "stoker topology apply"


def partition_findings(
    queue: Queue, specs: Sequence[TopicSpec], inventory: Inventory, allowed: Allowed
) -> list[PlanFinding]:
    """Compare the partition counts of a queue's topics with the declared one.

    Where the main topic has the declared number already, the others follow it: that is a half-done apply, and no key
    moves. In all other cases keys would move, and that must be allowed.
    """
    counts = {spec.name: inventory.topics[spec.name].partitions for spec in specs if spec.name in inventory.topics}
    too_many = {name: count for name, count in counts.items() if count > queue.partitions}
    too_few = {name: count for name, count in counts.items() if count < queue.partitions}
    if counts.get(queue.topic) == queue.partitions:
        return _following(queue, too_few, too_many)
    if too_many:
        return [_shrinking(queue, too_many)]
    if too_few and queue.name not in allowed.repartition:
        return [_repartition(queue, too_few)]
    return [_growth(queue, name, count, "allowed, although it moves keys") for name, count in too_few.items()]


def _following(queue: Queue, too_few: Mapping[str, int], too_many: Mapping[str, int]) -> list[PlanFinding]:
    growing = [_growth(queue, name, count, "its main topic has that many") for name, count in too_few.items()]
    return [*growing, *(_surplus(queue, name, count) for name, count in too_many.items())]


def how_to_fix(queue: Queue, main_count: int) -> str:
    """Say what brings a queue's other topics to as many partitions as its main topic has."""
    if main_count > queue.partitions:
        return f"declare partitions={main_count} for queue {queue.name!r} and run `{APPLY}`, which fixes it"
    flag = f" --allow-repartition {queue.name}" if main_count < queue.partitions else ""
    return f"`{APPLY}{flag}` fixes it"


def blocks_creation(queue: Queue, findings: Sequence[PlanFinding], inventory: Inventory) -> bool:
    """Whether missing topics must wait: created as declared, they would not fit the main topic that is there."""
    main = inventory.topics.get(queue.topic)
    is_settled = main is not None and main.partitions == queue.partitions
    return not is_settled and any(finding.group is Group.REFUSED for finding in findings)


def _growth(queue: Queue, topic: str, count: int, reason: str) -> PlanFinding:
    return _finding(
        queue,
        topic,
        {topic: count},
        Group.CHANGE,
        reason,
        step=GrowTopic(topic=topic, partitions=queue.partitions, is_main=topic == queue.topic),
    )


def _repartition(queue: Queue, too_few: Mapping[str, int]) -> PlanFinding:
    consequence = (
        "keys move to other partitions, so jobs of a key overtake those that wait, and repetitions are not recognised"
        if queue.ordering != "none"
        else "repetitions of a job inside the ledger's window are not recognised"
    )
    reason = f"{consequence}; drain the queue and stop its workers first; its topics grow together"
    flag = f"--allow-repartition {queue.name}"
    return _finding(queue, queue.topic, too_few, Group.REFUSED, reason, flag=flag)


def _shrinking(queue: Queue, too_many: Mapping[str, int]) -> PlanFinding:
    reason = (
        f"Kafka cannot take partitions away: declare partitions={max(too_many.values())}, or declare a queue of "
        "another name, drain this one and delete its topics"
    )
    return _finding(queue, queue.topic, too_many, Group.REFUSED, reason)


def _surplus(queue: Queue, topic: str, count: int) -> PlanFinding:
    reason = (
        "Kafka cannot take partitions away, and workers need as many as the main topic has: once it holds nothing of "
        f"worth, delete the topic and apply again, or declare partitions={count}"
    )
    return _finding(queue, topic, {topic: count}, Group.REFUSED, reason)


def _finding(
    queue: Queue,
    topic: str,
    counts: Mapping[str, int],
    group: Group,
    reason: str,
    *,
    flag: str | None = None,
    step: GrowTopic | None = None,
) -> PlanFinding:
    found = sorted(set(counts.values()))
    return PlanFinding(
        group=group,
        topic=topic,
        owner=queue.name,
        setting="partitions",
        found=" and ".join(map(str, found)),
        declared=str(queue.partitions),
        reason=reason,
        flag=flag,
        step=step,
    )
