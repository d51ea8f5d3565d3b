"""`Source`: which of a queue's topics a record comes from, and all that follows from it.

| question     | `Main`      | `Tier`     | what follows                                                          |
|--------------|-------------|------------|-----------------------------------------------------------------------|
| `reader`     | the group's | the tiers' | which consumer fetches it (`Rebalance`, `Lags`)                       |
| `delay`      | none        | the tier's | how long records wait in memory, and which ones lanes await           |
| `is_delayed` | no          | yes        | the records that wait have bounds of their own (`Backpressure`)       |
| `goes_ahead` | no          | yes        | in strict order, later records of a key wait for it (`StrictLanes`)   |

A new kind of source is a class here that answers these questions, and a line in `sources_of`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import ClassVar, Final

from ...topology import Queue


class Reader(Enum):
    """The consumers of a worker, of which each fetches some of the sources."""

    GROUP = "group"
    """The member of the consumer group. It owns the partitions of all sources, and fetches the main topic's."""
    TIERS = "tiers"
    """It reads the retry tiers beside the group: a retry that is due must not wait behind prefetched jobs."""


@dataclass(frozen=True, slots=True)
class Main:
    """The queue's main topic: jobs as they were published."""

    delay: ClassVar[timedelta | None] = None
    reader: ClassVar = Reader.GROUP
    is_delayed: ClassVar = False
    goes_ahead: ClassVar = False


@dataclass(frozen=True, slots=True)
class Tier:
    """A retry tier: jobs that wait, all about the same `delay`."""

    delay: timedelta
    reader: ClassVar = Reader.TIERS
    is_delayed: ClassVar = True
    goes_ahead: ClassVar = True


Source = Main | Tier
MAIN: Final = Main()


def sources_of(queue: Queue) -> Mapping[str, Source]:
    """The topics that a queue's jobs come from: {topic: source}, the main topic first."""
    return {queue.topic: MAIN, **{topic: Tier(delay) for delay, topic in queue.retry_topics.items()}}
