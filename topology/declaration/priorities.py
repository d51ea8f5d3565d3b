"""The priorities of a queue: what may be declared, and what a job may name. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ..wire.names import is_priority_name

NORMAL: Final = "normal"
"""The priority of jobs that name none; they are on the queue's main topic."""
MOST_PRIORITIES: Final = 5
"""Each takes a topic, and in each worker a client and a part of the room in memory."""
MOST_WEIGHT: Final = 1_000


def priority_faults(priorities: Mapping[str, int], *, is_strict: bool) -> list[str]:
    """List what is wrong with {priority: weight}; empty when all is well.

    >>> priority_faults({"high": 8, "normal": 3, "low": 1}, is_strict=False)
    []
    """
    if not priorities:
        return []
    found = [f"priority {name!r} {fault}" for name, weight in priorities.items() for fault in _faults_of(name, weight)]
    if NORMAL not in priorities:
        found.append(f"priorities must name {NORMAL!r}, the one of jobs that name none: add {NORMAL!r} with its weight")
    elif len(priorities) == 1:
        found.append(f"priorities name {NORMAL!r} alone, which every queue has: add another, or leave priorities= out")
    if len(priorities) > MOST_PRIORITIES:
        found.append(
            f"priorities may be {MOST_PRIORITIES} at the most, since each has a topic; there are {len(priorities)}"
        )
    if is_strict:
        found.append(
            'priorities need ordering="key" or "none": with "strict", a job waits for all earlier ones of its key, and '
            "none may pass; choose another ordering, or declare a queue of its own for urgent jobs"
        )
    return found


def _faults_of(name: str, weight: int) -> list[str]:
    found = []
    if not (isinstance(name, str) and is_priority_name(name)):
        found.append("cannot be a part of a topic's name, or is a word of Stoker's own: use a-z, 0-9, '-' and '_'")
    if not isinstance(weight, int) or isinstance(weight, bool) or not 1 <= weight <= MOST_WEIGHT:
        found.append(f"must have a whole number from 1 to {MOST_WEIGHT:,} as its weight; it has {weight!r}")
    return found


def unknown_priority(priority: object, priorities: Mapping[str, int], queue: str) -> str | None:
    """Why a job of the queue cannot have this priority; None where it can."""
    if priority in (None, NORMAL) or (isinstance(priority, str) and priority in priorities):
        return None
    if not priorities:
        return (
            f"is {priority!r}, and queue {queue!r} declares no priorities: give it priorities={{...}}, or leave it out"
        )
    return f"is {priority!r}, and queue {queue!r} declares {', '.join(priorities)}: choose one of these"
