"""The settings of a queue's consumer group that its declaration asks for, compared with those that hold. Pure.

They are the brokers' to keep: with the group protocol of Kafka 4 a member cannot choose its session timeout itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

from ..declaration.queue import Queue
from ..declaration.topics import milliseconds
from ..durations import format_retention
from .findings import Group, PlanFinding, SetGroupConfig

SESSION: Final = "consumer.session.timeout.ms"
HEARTBEAT: Final = "consumer.heartbeat.interval.ms"
BROKER_MINIMA: Final = {
    SESSION: "group.consumer.min.session.timeout.ms",
    HEARTBEAT: "group.consumer.min.heartbeat.interval.ms",
}
DEFAULT_HEARTBEAT_MS: Final = 5_000
BEATS: Final = 3
"""A member is missed when so many heartbeats in a row did not come."""


def group_settings(queue: Queue) -> dict[str, str]:
    """The settings that the declaration gives the group; empty where it leaves them to the brokers."""
    if queue.session_timeout is None:
        return {}
    session_ms = milliseconds(queue.session_timeout)
    beat_ms = {HEARTBEAT: str(session_ms // BEATS)} if session_ms < BEATS * DEFAULT_HEARTBEAT_MS else {}
    return {**beat_ms, SESSION: str(session_ms)}


def group_findings(queue: Queue, found: Mapping[str, str] | None) -> Iterable[PlanFinding]:
    """Compare what is asked of the group with what holds; None where the brokers have no settings of groups."""
    for name, declared in group_settings(queue).items():
        change = PlanFinding(
            group=Group.CHANGE,
            topic=queue.topic,
            owner=queue.name,
            setting=name,
            found="unknown" if found is None or name not in found else format_retention(int(found[name])),
            declared=format_retention(int(declared)),
            reason="apply sets it for the group",
            step=SetGroupConfig(group=queue.group, name=name, value=declared),
        )
        if found is None:
            yield replace(change, group=Group.DRIFT, reason=_TOO_OLD, step=None)
        elif found.get(name) != declared:
            yield change


_TOO_OLD: Final = "these brokers keep no settings of groups; workers ask for it themselves, by the classic protocol"


def refused_setting(reason: str) -> str:
    """Say of a setting that the brokers refuse what would allow it."""
    named = [minimum for setting, minimum in BROKER_MINIMA.items() if setting in reason or minimum in reason]
    options = " and ".join(f"`{minimum}`" for minimum in named or BROKER_MINIMA.values())
    return (
        f"the brokers refuse the session timeout: {reason}. They allow it once {options} is lowered in their "
        "configuration (45 s and 5 s by default); else declare a longer `session_timeout`, or none"
    )
