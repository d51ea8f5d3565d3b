"""What a new owner reads of the one before hangs together, also where that one is still at work."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, cast

import pytest
from confluent_kafka import Consumer, KafkaException, TopicPartition

from stoker.consumers.kafka.clients import make_reader
from stoker.consumers.partitions.start_positions import StartPositions
from stoker.consumers.progress.assignment import Assignment
from stoker.consumers.sources.source import Tier
from stoker.topology import ClusterSettings, Queue
from support.kafka.commits import commit_as_one_who_left
from support.scenes.worker import Raw, committed, create, declare_queue, publish_raw
from support.waiting import wait_until

TIER = timedelta(milliseconds=300)
KEY = b"k"
HEADERS: list[tuple[str, bytes | None]] = [("ce_id", b"j1"), ("ce_type", b"act")]


class Interrupted:
    """A consumer, one of whose questions is followed by what the other owner does at that moment."""

    def __init__(self, consumer: Consumer, question: int, meanwhile: Callable[[], None]) -> None:
        self._consumer = consumer
        self._left = question
        self._meanwhile = meanwhile

    def __getattr__(self, name: str) -> Any:
        def ask(*arguments: Any, **options: Any) -> Any:
            answer = getattr(self._consumer, name)(*arguments, **options)
            self._left -= 1
            if self._left == 0:
                self._meanwhile()
            return answer

        return ask


@pytest.mark.parametrize("question", [1, 2, 3])
def test_a_job_that_moves_to_a_tier_meanwhile_is_awaited_or_not_yet_done(
    cluster: ClusterSettings, namespace: str, question: int
) -> None:
    """Between two questions of the new owner, the one before moves a job to a tier and commits: where the new owner
    takes the job's record for done, it awaits the one in the tier."""
    pipeline, queue = declare_queue(namespace, partitions=1, tiers=(TIER,), ordering="strict")
    create(pipeline, cluster)
    wait_until(lambda: is_coordinated(cluster, queue), what="a coordinator of the group, which a new broker lacks")
    publish_raw(cluster, queue.topic, [Raw(value=b"", headers=HEADERS, key=KEY)])
    main, tier = Assignment(1, queue.topic, 0), Assignment(2, queue.retry_topics[TIER], 0, source=Tier(TIER))
    consumer = make_reader(cluster, queue, "test", {})
    try:
        asked = Interrupted(consumer, question, lambda: move_to_tier(cluster, queue))
        positions = StartPositions(cast(Consumer, asked), queue, [main, tier], lambda: False)
        found = positions.with_waiting(positions.of(0))
    finally:
        consumer.close()
    is_done = found[main].state.committed_offset == 1
    assert not is_done or KEY in found[tier].awaited


def is_coordinated(cluster: ClusterSettings, queue: Queue) -> bool:
    """Whether some broker answers for the group's commits."""
    try:
        committed(cluster, queue)
    except KafkaException:
        return False
    return True


def move_to_tier(cluster: ClusterSettings, queue: Queue) -> None:
    """What an owner does with a failed job: its next record, then the commit."""
    headers = [*HEADERS, ("stoker-origin", f"{queue.topic}/0/0".encode()), ("stoker-attempt", b"2")]
    publish_raw(cluster, queue.retry_topics[TIER], [Raw(value=b"", headers=headers, key=KEY)])
    commit_as_one_who_left(cluster, queue.group, TopicPartition(queue.topic, 0, 1))
