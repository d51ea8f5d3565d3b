"""`KafkaDepth`: a queue's depth, asked of the brokers by a client that reads no record."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import OffsetSpec  # type: ignore[attr-defined]  # re-exported without `__all__`

from ...topology.cluster.admin_connection import AdminConnection
from ...topology.cluster.answers import wait_answer
from ...topology.cluster.committed_offsets import ask_committed, make_asker
from ...topology.cluster.settings import ClusterSettings
from ...topology.declaration.queue import Queue
from ...topology.wire.commit_metadata import CommitMetadata

ASK_TIMEOUT_S: Final = 2.0
AGE_STEPS: Final = 3
"""The age of the oldest job lies between two lengths of which one is twice the other; halving that three times."""
_LONGEST: Final = timedelta(days=365)

Partition = tuple[str, int]
"""Topic and partition number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Depth:
    """The result of one reading.

    Attributes:
        waiting: jobs without an outcome, those that run included, and those in delay topics left out.
        age: for how long the oldest one of the main topic has waited; None where it was not measured.
    """

    waiting: int
    age: timedelta | None = None


class DepthReader(Protocol):
    """Reads the depth of one queue; one thread owns it."""

    def read(self) -> Depth:
        """Ask the cluster; any exception of the client passes."""

    def close(self) -> None:
        """Disconnect."""


def unfinished(place: TopicPartition | None, start: int, end: int) -> int:
    """How many records of a partition have no outcome: exactly, where a worker has committed its progress.

    Args:
        place: the group's commit; None where there is none.
        start, end: the offsets of the oldest record, and of the one to come.

    Of a commit that refers to the progress topic without a count, only the records beyond its position count: too few
    rather than too many.
    """
    if place is None:
        return max(0, end - start)
    state = CommitMetadata.decode(place.metadata, place.offset)
    if state is None:
        return max(0, end - max(start, place.offset))
    return (state.incomplete_count or 0) + max(0, end - max(start, state.position))


class KafkaDepth:
    """Reads the depth of a queue with two requests, and some more where it is full.

    Args:
        partitions: how many each topic of the queue has.
    """

    def __init__(self, cluster: ClusterSettings, queue: Queue, partitions: int) -> None:
        self._queue, self._full_at = queue, queue.max_waiting or 1
        self._partitions = [(topic, number) for topic in queue.admission_topics for number in range(partitions)]
        self._connection = AdminConnection(cluster, cluster.client_config(log_level=2))
        self._asker = make_asker(cluster, queue.group, self._connection.note_client_error)

    def read(self) -> Depth:
        """See DepthReader.

        Raises:
            ClusterUnreachable, NotAuthorized, KafkaException: there is no answer, or a refusal.
        """
        try:
            places = ask_committed(self._asker, self._partitions, ASK_TIMEOUT_S)
        except KafkaException as failed:
            raise self._connection.translated(failed.args[0], "Describe", f"group {self._queue.group}") from failed
        ends = self._offsets(self._partitions, OffsetSpec.latest())  # type: ignore[no-untyped-call]  # the client's own is bare
        bare = [partition for partition, end in ends.items() if end and partition not in places]
        starts = self._offsets(bare, OffsetSpec.earliest())  # type: ignore[no-untyped-call]  # the client's own is bare
        waiting = {
            partition: unfinished(places.get(partition), starts.get(partition, 0), end)
            for partition, end in ends.items()
        }
        depth = sum(waiting.values())
        if depth < self._full_at:
            return Depth(waiting=depth)
        return Depth(waiting=depth, age=self._age(_firsts(self._queue.topic, waiting, places, starts)))

    def _age(self, firsts: Mapping[Partition, int]) -> timedelta | None:
        """How old the oldest of these records is: the brokers know which record came first after an instant."""
        if not firsts:
            return None
        short, long = timedelta(0), timedelta(seconds=1)
        while long < _LONGEST and self._is_any_older(firsts, long):
            short, long = long, 2 * long
        for _ in range(AGE_STEPS):
            middle = (short + long) / 2
            short, long = (middle, long) if self._is_any_older(firsts, middle) else (short, middle)
        return (short + long) / 2

    def _is_any_older(self, firsts: Mapping[Partition, int], age: timedelta) -> bool:
        since = OffsetSpec.for_timestamp(int((datetime.now(UTC) - age).timestamp() * 1_000))
        found = self._offsets(list(firsts), since)
        return any(found[at] < 0 or found[at] > first for at, first in firsts.items() if at in found)

    def _offsets(self, partitions: Collection[Partition], spec: OffsetSpec) -> dict[Partition, int]:
        """{partition: offset}; a topic that is not there is left out."""
        if not partitions:
            return {}
        request = {TopicPartition(*partition): spec for partition in partitions}
        answers = self._connection.client.list_offsets(request, request_timeout=ASK_TIMEOUT_S)
        found = {}
        give_up_at_s = time.monotonic() + ASK_TIMEOUT_S + 1
        for asked, answer in answers.items():
            end = wait_answer(answer, give_up_at_s)
            if not isinstance(end, KafkaError):
                found[asked.topic, asked.partition] = int(end.offset)
            elif end.code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise self._connection.translated(end, "Describe", f"topic {asked.topic}")
        return found

    def close(self) -> None:
        """See DepthReader."""
        with suppress(KafkaException, RuntimeError):
            self._asker.close()


def _firsts(
    topic: str,
    waiting: Mapping[Partition, int],
    places: Mapping[Partition, TopicPartition],
    starts: Mapping[Partition, int],
) -> dict[Partition, int]:
    """{partition of the main topic: offset of its first unfinished record}, where there is one."""
    return {
        at: places[at].offset if at in places else starts.get(at, 0)
        for at, count in waiting.items()
        if count and at[0] == topic
    }
