"""`Source`: which of a queue's topics a record comes from, and all that follows from it.

| question     | `Main`      | `Tier`, `Delay` | `Carried`  | what follows                                           |
|--------------|-------------|-----------------|------------|--------------------------------------------------------|
| `reader`     | the group's | the tiers'      | the tiers' | which consumer fetches it (`Rebalance`, `Lags`)        |
| `delay`      | none        | the tier's; 0   | none       | how long records wait that have no due time            |
| `is_delayed` | no          | yes             | no         | records wait in the `Calendar` until they are due      |
| `goes_ahead` | no          | yes             | no         | in strict order, later records of a key wait for it    |
| `detail`     | -           | which of them   | -          | in events of hold-ups: where an earlier job waits      |

What was carried forward (`Carried`) is known before any other record of its partition is read.

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


class Reader(Enum):
    """The consumers of a worker, of which each fetches some of the sources."""

    GROUP = "group"
    """The member of the consumer group. It owns the partitions of all sources, and fetches the main topic's."""
    TIERS = "tiers"
    """The reader of retry tiers and delays beside the group: a due job must not wait behind prefetched ones."""


@dataclass(frozen=True, slots=True)
class Main:
    """The queue's main topic: jobs as they were published."""

    delay: ClassVar[timedelta] = timedelta(0)
    reader: ClassVar = Reader.GROUP
    is_delayed: ClassVar = False
    goes_ahead: ClassVar = False
    detail: ClassVar[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Tier:
    """A retry tier: failed jobs that wait, all about the same `delay`."""

    delay: timedelta
    reader: ClassVar = Reader.TIERS
    is_delayed: ClassVar = True
    goes_ahead: ClassVar = True

    @property
    def detail(self) -> Mapping[str, str]:
        """The tier, as in the name of its topic."""
        return {"tier": format_duration(self.delay)}


@dataclass(frozen=True, slots=True)
class Delay:
    """A delay topic: jobs that have not failed, and must not start yet."""

    delay_class: DelayClass
    delay: ClassVar[timedelta] = timedelta(0)
    reader: ClassVar = Reader.TIERS
    is_delayed: ClassVar = True
    goes_ahead: ClassVar = True

    @property
    def detail(self) -> Mapping[str, str]:
        """The class of delay, as in the name of its topic."""
        return {"delay": self.delay_class.value}


@dataclass(frozen=True, slots=True)
class Carried:
    """The carried topic: copies of records that wait, written before those were too old for their topics."""

    delay: ClassVar[timedelta] = timedelta(0)
    reader: ClassVar = Reader.TIERS
    is_delayed: ClassVar = False
    goes_ahead: ClassVar = False
    detail: ClassVar[Mapping[str, str]] = MappingProxyType({})


Waiting = Tier | Delay
"""Where a job waits until it is due."""
Source = Main | Waiting | Carried
MAIN: Final = Main()
CARRIED: Final = Carried()


def sources_of(queue: Queue) -> Mapping[str, Source]:
    """The topics that a queue's jobs come from: {topic: source}, the main topic first."""
    tiers: dict[str, Source] = {topic: Tier(delay) for delay, topic in queue.retry_topics.items()}
    delays: dict[str, Source] = {topic: Delay(name) for name, topic in queue.delay_topics.items()}
    return {queue.topic: MAIN, **tiers, **delays, queue.carried_topic: CARRIED}
