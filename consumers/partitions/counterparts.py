"""Whether outcomes of a partition's jobs can be written: the topics for them have a counterpart of it.

A main topic may grow under a running worker, by `topology apply` or from outside, and without the others. Also, a
client that writes knows the topics as they were when it last asked. So before the first job of a partition starts, the
client that will write its outcomes is asked for all of them, which makes it ask the brokers. (Without the progress
topic jobs go on as well: only commits that are large need it.)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from confluent_kafka import KafkaError, KafkaException, Producer

from ...topology import Queue
from ...topology.counts import counted
from ...topology.planning.partition_counts import how_to_fix
from ..kafka.log_tail import Unrestorable

REQUEST_TIMEOUT_S: Final = 5.0
_ABSENT: Final = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC})


@dataclass(frozen=True, slots=True, kw_only=True)
class CounterpartsMissing:
    """Partitions of the main topic have no counterpart in other topics: none of their jobs may start.

    Attributes:
        partitions: their numbers.
        main_count: how many partitions the main topic has.
        others: {topic that has too few: how many it has}.
    """

    queue: Queue
    partitions: frozenset[int]
    main_count: int
    others: Mapping[str, int]

    def __str__(self) -> str:
        """Names the partitions that wait, why, and how to fix it."""
        numbers = ", ".join(map(str, sorted(self.partitions)))
        others = ", ".join(f"{topic} has {count}" for topic, count in self.others.items())
        return (
            f"jobs of {self.queue.topic}, partitions {numbers}, do not start, since their outcomes could not be "
            f"written: it has {counted(self.main_count, 'partition')}, {others}; "
            f"{how_to_fix(self.queue, self.main_count)}, and the worker goes on by itself"
        )


def find_missing(producer: Producer, queue: Queue, partitions: Iterable[int]) -> CounterpartsMissing | None:
    """Ask for the queue's topics, and return which of these partitions lack a counterpart; None where none does.

    Raises:
        Unrestorable: the brokers did not answer.
    """
    topics = [*queue.job_topics, queue.ledger_topic, queue.dead_topic]
    try:
        counts = {topic: count for topic in topics if (count := _count(producer, topic)) is not None}
    except KafkaException as failure:
        raise Unrestorable(f"the list of the partitions of queue {queue.name!r}", failure.args[0]) from failure
    return missing_among(queue, counts, partitions)


def missing_among(queue: Queue, counts: Mapping[str, int], partitions: Iterable[int]) -> CounterpartsMissing | None:
    """Find the missing counterparts by known {topic: number of partitions}. Pure."""
    others = {topic: count for topic, count in counts.items() if topic != queue.topic}
    fewest = min(others.values(), default=0)
    lacking = frozenset(number for number in partitions if number >= fewest)
    main_count = counts.get(queue.topic)
    if not lacking or main_count is None:
        return None
    short = {topic: count for topic, count in others.items() if count <= max(lacking)}
    return CounterpartsMissing(queue=queue, partitions=lacking, main_count=main_count, others=short)


def _count(producer: Producer, topic: str) -> int | None:
    """How many partitions a topic has: 0 if there is no such topic, None if its error is another one.

    A write to it raises that error.

    Raises:
        KafkaException: the brokers do not answer.
    """
    found = producer.list_topics(topic, timeout=REQUEST_TIMEOUT_S).topics[topic]
    if found.error is None:
        return len(found.partitions)
    return 0 if found.error.code() in _ABSENT else None
