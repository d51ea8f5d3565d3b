"""The names of topics and groups, built and read in this one place.

`<namespace>.<queue>` is the main topic and the consumer group; `.retry.<delay>`, `.delay.<class>`, `.carried`,
`.dead`, `.ledger`, `.progress`, `.limits` and the priorities, such as `.high`, follow it.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final

from ..durations import format_duration

RETRY_INFIX: Final = ".retry."
DELAY_INFIX: Final = ".delay."
CARRIED_SUFFIX: Final = ".carried"
DEAD_SUFFIX: Final = ".dead"
LEDGER_SUFFIX: Final = ".ledger"
PROGRESS_SUFFIX: Final = ".progress"
LIMITS_SUFFIX: Final = ".limits"
SCHEMAS_SUFFIX: Final = ".schemas"
EVENTS_SUFFIX: Final = ".events"
CONTROL_SUFFIX: Final = ".control"
WORKERS_SUFFIX: Final = ".workers"
AUDIT_SUFFIX: Final = ".audit"
SCHEDULES_SUFFIX: Final = ".schedules"
SHARES_SUFFIX: Final = ".shares"
STATS_SUFFIX: Final = ".stats"

RESERVED_PRIORITY_NAMES: Final = frozenset(
    {"retry", "delay", "carried", "dead", "ledger", "progress", "results", "limits", "shares", "schedules", "replay"}
)
"""Words that follow a queue's name on other topics of its own, and those that are kept for such."""
RESERVED_QUEUE_NAMES: Final = frozenset(
    {"schemas", "events", "control", "workers", "audit", "schedules", "shares", "stats"}
)

_NAME = re.compile(r"[a-z0-9]([a-z0-9_-]*[a-z0-9])?")


def check_name(kind: str, name: str) -> str:
    """Return the name if it can be part of a topic name.

    Raises:
        ValueError: it has characters that are not allowed, is too long, or is reserved.
    """
    if not _NAME.fullmatch(name) or len(name) > 80:
        raise ValueError(
            f"{kind} name {name!r} is not allowed: use 1 to 80 of a-z, 0-9, '-' and '_', "
            "beginning and ending with a letter or digit"
        )
    if kind == "queue" and name in RESERVED_QUEUE_NAMES:
        raise ValueError(f"queue name {name!r} is reserved for a topic of Stoker's own; choose another")
    return name


def main_topic(namespace: str, queue: str) -> str:
    """Name the topic that producers publish a queue's jobs to."""
    return f"{namespace}.{queue}"


def priority_topic(namespace: str, queue: str, priority: str) -> str:
    """Name the topic that producers publish a queue's jobs of one priority to; normal ones go to the main topic."""
    return f"{namespace}.{queue}.{priority}"


def is_priority_name(name: str) -> bool:
    """Whether a priority may have this name: it becomes a part of a topic's name."""
    return bool(_NAME.fullmatch(name)) and len(name) <= 40 and name not in RESERVED_PRIORITY_NAMES


def id_space(topic: str) -> str:
    """Name the space in which ids are unique, of any topic of a queue: `<namespace>.<queue>`. Neither part holds a dot.

    >>> id_space("shop.mails.retry.5s")
    'shop.mails'
    """
    return ".".join(topic.split(".")[:2])


def retry_topic(namespace: str, queue: str, delay: timedelta) -> str:
    """Name the topic of one retry tier, whose records all wait the same delay."""
    return f"{namespace}.{queue}{RETRY_INFIX}{format_duration(delay)}"


def delay_topic(namespace: str, queue: str, delay_class: str) -> str:
    """Name the topic of one class of delay, whose records wait about as long as each other."""
    return f"{namespace}.{queue}{DELAY_INFIX}{delay_class}"


def carried_topic(namespace: str, queue: str) -> str:
    """Name the topic of jobs that were carried forward, before their records were too old."""
    return f"{namespace}.{queue}{CARRIED_SUFFIX}"


def dead_topic(namespace: str, queue: str) -> str:
    """Name the queue's dead-letter topic."""
    return f"{namespace}.{queue}{DEAD_SUFFIX}"


def ledger_topic(namespace: str, queue: str) -> str:
    """Name the compacted topic that holds the ids of completed jobs."""
    return f"{namespace}.{queue}{LEDGER_SUFFIX}"


def progress_topic(namespace: str, queue: str) -> str:
    """Name the compacted topic that holds what does not fit a commit's metadata of partitions' exact progress."""
    return f"{namespace}.{queue}{PROGRESS_SUFFIX}"


def limits_topic(namespace: str, queue: str) -> str:
    """Name the topic on which the owners of partitions reserve what they use of limits by key and tenant."""
    return f"{namespace}.{queue}{LIMITS_SUFFIX}"


def schemas_topic(namespace: str) -> str:
    """Name the compacted topic that holds the writer schemas of all job types."""
    return f"{namespace}{SCHEMAS_SUFFIX}"


def events_topic(namespace: str) -> str:
    """Name the topic of events."""
    return f"{namespace}{EVENTS_SUFFIX}"


def control_topic(namespace: str) -> str:
    """Name the compacted topic of the orders that stand."""
    return f"{namespace}{CONTROL_SUFFIX}"


def workers_topic(namespace: str) -> str:
    """Name the compacted topic on which each worker process writes its status."""
    return f"{namespace}{WORKERS_SUFFIX}"


def audit_topic(namespace: str) -> str:
    """Name the topic of the audit trail: each order, each change of a schedule, all other actions."""
    return f"{namespace}{AUDIT_SUFFIX}"


def shares_topic(namespace: str) -> str:
    """Name the topic on which workers share limits."""
    return f"{namespace}{SHARES_SUFFIX}"


def stats_topic(namespace: str) -> str:
    """Name the compacted topic of the statistics; the group of the processes that keep them has the same name."""
    return f"{namespace}{STATS_SUFFIX}"


def schedules_topic(namespace: str) -> str:
    """Name the compacted topic of the schedules, and of what each has fired last."""
    return f"{namespace}{SCHEDULES_SUFFIX}"


def schedules_writer(namespace: str, queue: str) -> str:
    """Name the transactional id of the one worker that fires the schedules of a queue."""
    return f"{namespace}.{queue}{SCHEDULES_SUFFIX}"


def group_id(namespace: str, queue: str) -> str:
    """Name the consumer group whose members share a queue's partitions."""
    return f"{namespace}.{queue}"


def reader_group(topic: str) -> str:
    """Name what a reader of a topic calls its group: it joins none, but Kafka's client insists on a name."""
    return f"{topic}.reader"
