"""`Source`: which of a queue's topics a record comes from, and all that follows from it.

| question         | `Main`      | `Priority` | `Tier`, `Delay` | `Carried`  | what follows                           |
|------------------|-------------|------------|-----------------|------------|----------------------------------------|
| `reader`         | the group's | its own    | the side reader | the same   | which consumer fetches it              |
| `delay`          | none        | none       | the tier's; 0   | none       | how long records wait with no due time |
| `is_entry`       | yes         | yes        | no              | no         | producers publish jobs there           |
| `is_beside_main` | no          | yes        | no              | no         | it flows only beside the main topic    |
| `is_delayed`     | no          | no         | yes             | no         | records wait in the `Calendar`         |
| `goes_ahead`     | no          | no         | yes             | no         | in strict order, its key waits for it  |
| `has_copies`     | no          | no         | no              | yes        | known before others of its partition   |
| `priority`       | normal      | which      | -               | -          | of its records; `-`: by their header   |
| `detail`         | -           | which      | which of them   | -          | where a job waits, in blocker events   |
| `title`          | main        | which      | which of them   | carried    | its part in its queue, for people      |

A new kind of source is a class here that answers these questions, and a line in `sources_of`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from types import MappingProxyType
from typing import ClassVar, Final

from ...topology import Queue, format_duration
from ...topology.declaration.delays import DelayClass
from ...topology.declaration.priorities import NORMAL


class Reader(Enum):
    """The consumers of a worker, of which each fetches some of the sources."""

    GROUP = "group"
    """The member of the consumer group. It owns the partitions of all sources, and fetches the main topic's."""
    SIDE = "side"
    """The side reader of all waiting topics: a due job must not wait behind prefetched ones."""


@dataclass(frozen=True, slots=True)
class Main:
    """The queue's main topic: jobs as they were published."""

    delay: ClassVar[timedelta] = timedelta(0)
    reader: ClassVar = Reader.GROUP
    is_entry: ClassVar = True
    is_beside_main: ClassVar = False
    is_delayed: ClassVar = False
    goes_ahead: ClassVar = False
    has_copies: ClassVar = False
    priority: ClassVar[str | None] = NORMAL
    detail: ClassVar[Mapping[str, str]] = MappingProxyType({})
    title: ClassVar = "main"


@dataclass(frozen=True, slots=True)
class Priority:
    """The topic of one priority: jobs as they were published, which are not normal ones."""

    priority: str
    delay: ClassVar[timedelta] = timedelta(0)
    is_entry: ClassVar = True
    is_beside_main: ClassVar = True
    is_delayed: ClassVar = False
    goes_ahead: ClassVar = False
    has_copies: ClassVar = False

    @property
    def reader(self) -> Priority:
        """A consumer of its own: urgent jobs must not wait behind other prefetched ones."""
        return self

    @property
    def detail(self) -> Mapping[str, str]:
        """The priority, as in the name of its topic."""
        return {"priority": self.priority}

    @property
    def title(self) -> str:
        """The part of the topic in its queue, for people."""
        return f"priority {self.priority}"


@dataclass(frozen=True, slots=True)
class Tier:
    """A retry tier: failed jobs that wait, all about the same `delay`."""

    delay: timedelta
    reader: ClassVar = Reader.SIDE
    is_entry: ClassVar = False
    is_beside_main: ClassVar = False
    is_delayed: ClassVar = True
    goes_ahead: ClassVar = True
    has_copies: ClassVar = False
    priority: ClassVar[str | None] = None

    @property
    def detail(self) -> Mapping[str, str]:
        """The tier, as in the name of its topic."""
        return {"tier": format_duration(self.delay)}

    @property
    def title(self) -> str:
        """The part of the topic in its queue, for people."""
        return f"retry {format_duration(self.delay)}"


@dataclass(frozen=True, slots=True)
class Delay:
    """A delay topic: jobs that have not failed, and must not start yet."""

    delay_class: DelayClass
    delay: ClassVar[timedelta] = timedelta(0)
    reader: ClassVar = Reader.SIDE
    is_entry: ClassVar = False
    is_beside_main: ClassVar = False
    is_delayed: ClassVar = True
    goes_ahead: ClassVar = True
    has_copies: ClassVar = False
    priority: ClassVar[str | None] = None

    @property
    def detail(self) -> Mapping[str, str]:
        """The class of delay, as in the name of its topic."""
        return {"delay": self.delay_class.value}

    @property
    def title(self) -> str:
        """The part of the topic in its queue, for people."""
        return f"delay {self.delay_class.value}"


@dataclass(frozen=True, slots=True)
class Carried:
    """The carried topic: copies of records that wait, written before those were too old for their topics."""

    delay: ClassVar[timedelta] = timedelta(0)
    reader: ClassVar = Reader.SIDE
    is_entry: ClassVar = False
    is_beside_main: ClassVar = False
    is_delayed: ClassVar = False
    goes_ahead: ClassVar = False
    has_copies: ClassVar = True
    priority: ClassVar[str | None] = None
    detail: ClassVar[Mapping[str, str]] = MappingProxyType({})
    title: ClassVar = "carried"


Waiting = Tier | Delay
"""Where a job waits until it is due."""
ReaderOf = Reader | Priority
"""Who fetches a source: one of the two consumers that each worker has, or that of a priority."""
Source = Main | Priority | Waiting | Carried
MAIN: Final = Main()
CARRIED: Final = Carried()


def sources_of(queue: Queue) -> Mapping[str, Source]:
    """The topics that a queue's jobs come from: {topic: source}, the main topic first."""
    priorities: dict[str, Source] = {topic: Priority(name) for name, topic in queue.priority_topics.items()}
    tiers: dict[str, Source] = {topic: Tier(delay) for delay, topic in queue.retry_topics.items()}
    delays: dict[str, Source] = {topic: Delay(name) for name, topic in queue.delay_topics.items()}
    return {queue.topic: MAIN, **priorities, **tiers, **delays, queue.carried_topic: CARRIED}
