"""How many jobs of a queue are not committed, as a stranger to the group sees it."""

from __future__ import annotations

from confluent_kafka import Consumer, TopicPartition

from stoker.topology import ClusterSettings, Queue

_TIMEOUT_S = 10.0


class Backlog:
    """Asks the coordinator about a queue's group, without joining it."""

    def __init__(self, cluster: ClusterSettings, queue: Queue) -> None:
        self._asking = Consumer({**cluster.client_config(), "group.id": queue.group})
        self._places = [TopicPartition(queue.topic, number) for number in range(queue.partitions)]
        self._ends = {
            place.partition: self._asking.get_watermark_offsets(place, timeout=_TIMEOUT_S)[1] for place in self._places
        }

    def uncommitted(self) -> int:
        """How many of the jobs that were there at first are not committed yet."""
        known = self._asking.committed(self._places, timeout=_TIMEOUT_S)
        return sum(max(0, self._ends[place.partition] - max(0, place.offset)) for place in known)

    def close(self) -> None:
        """Disconnect."""
        self._asking.close()
