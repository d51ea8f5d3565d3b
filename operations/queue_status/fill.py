"""`Fill`: how full a queue is that bounds how many of its jobs wait."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from confluent_kafka import TopicPartition

from ...producers.admission.depth import unfinished
from ...topology import Queue
from ...topology.counts import counted_doing
from ...topology.declaration.queue import WhenFull
from ..cluster_view import Partition


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """A bounded queue at one moment, counted as its producers count.

    Attributes:
        counted: its depth: unfinished jobs but for those in delay topics.
    """

    max_waiting: int
    when_full: WhenFull
    counted: int

    @property
    def is_full(self) -> bool:
        """Whether producers find no room."""
        return self.counted >= self.max_waiting

    @property
    def sentence(self) -> str:
        """The fill in words."""
        if not self.is_full:
            return f"room: {self.counted:,} of at most {self.max_waiting:,} jobs wait"
        meet = "refused" if self.when_full == "refuse" else "made to wait"
        waiting = counted_doing(self.counted, "job", "wait")
        return f"full: {waiting}, and max_waiting is {self.max_waiting:,}; producers are {meet}"


def fill_of(queue: Queue, counts: Mapping[Partition, int]) -> Fill | None:
    """The fill of a queue; None where it has no bound.

    Args:
        counts: of `count_unfinished`.
    """
    if queue.max_waiting is None:
        return None
    counted = sum(count for (topic, _), count in counts.items() if topic in queue.admission_topics)
    return Fill(max_waiting=queue.max_waiting, when_full=queue.when_full, counted=counted)


def count_unfinished(
    queue: Queue,
    commits: Mapping[Partition, TopicPartition],
    starts: Mapping[Partition, int],
    ends: Mapping[Partition, int],
) -> dict[Partition, int]:
    """{partition: unfinished jobs} of a bounded queue; nothing of another one."""
    if queue.max_waiting is None:
        return {}
    mine = [at for at in ends if at[0] in queue.admission_topics]
    return {at: unfinished(commits.get(at), starts[at], ends[at]) for at in mine}
