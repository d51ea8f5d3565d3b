"""The rules for how a queue's jobs are routed, by key or by tenant: the main topic is marked with it. Pure.

Kafka keeps no word of ours with a topic. A config that has no effect on it bears the mark: see `ROUTE_MARK`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from ..declaration.queue import Queue, RouteBy
from ..declaration.topics import ROUTE_MARK, ROUTE_MARKS
from .findings import Allowed, Group, PlanFinding, SetConfig
from .inventory import Inventory, TopicState

ALLOW_REROUTE: Final = "--allow-reroute"


def routing_findings(queue: Queue, inventory: Inventory, allowed: Allowed) -> Iterable[PlanFinding]:
    """Compare how a queue's jobs have been routed with what is declared; a change of it must be allowed."""
    state = inventory.topics.get(queue.topic)
    if state is None or (found := marked_route(state)) == queue.route_by:
        return
    is_allowed = queue.name in allowed.reroute
    yield PlanFinding(
        group=Group.CHANGE if is_allowed else Group.REFUSED,
        topic=queue.topic,
        owner=queue.name,
        setting="routing",
        found=f"by {found}",
        declared=f"by {queue.route_by}",
        reason="allowed, although it moves jobs" if is_allowed else f"{_consequence(queue)}; {_REMEDY}",
        flag=None if is_allowed else f"{ALLOW_REROUTE} {queue.name}",
        step=SetConfig(topic=queue.topic, name=ROUTE_MARK, value=ROUTE_MARKS[queue.route_by]) if is_allowed else None,
    )


_REMEDY: Final = "stop its producers and drain the queue first, and mark the topic before they start again"


def _consequence(queue: Queue) -> str:
    if queue.ordering == "none":
        return "jobs move to other partitions, so repetitions are not recognised"
    return "jobs move to other partitions, so they overtake those of their key that wait, and repetitions run again"


def marked_route(state: TopicState) -> RouteBy:
    """By what a main topic's jobs have been routed; by key where no mark was set on it."""
    is_marked = ROUTE_MARK in state.overrides and state.configs.get(ROUTE_MARK) == ROUTE_MARKS["tenant"]
    return "tenant" if is_marked else "key"
