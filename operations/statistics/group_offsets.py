"""`GroupOffsets`: the events topic and the statistics' group as Stoker's own client sees them, beside Faust."""

from __future__ import annotations

import time
from functools import partial
from typing import Final

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from ...topology import NotAuthorized
from ...topology.cluster.clients import make_client
from ...topology.cluster.committed_offsets import ask_committed
from ...topology.cluster.forgotten_brokers import LastingConsumer, lasting
from ...topology.cluster.leaders import answered, ask_leaders
from .messages import ProcessSettings
from .panes import KEEP_S

REQUEST_S: Final = 5.0
_HAS_MEMBERS: Final = frozenset({KafkaError.UNKNOWN_MEMBER_ID, KafkaError.ILLEGAL_GENERATION})


class GroupOffsets:
    """Asks the brokers; all calls come from one thread.

    They raise KafkaException where there is no answer, and NotAuthorized where the client lacks a right.
    """

    def __init__(self, settings: ProcessSettings) -> None:
        self._topic, self._group = settings.events, settings.group
        self._principal = settings.cluster.principal
        config = settings.cluster.reader_config(client_id=f"{settings.group}-supervisor", log_level=2)
        own = {
            "group.id": settings.group,  # it never joins; it reads and sets the group's offsets
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "enable.partition.eof": True,
            "isolation.level": "read_uncommitted",  # as Faust reads
            "error_cb": lambda _error: None,
        }
        self._consumer = make_client(partial(lasting, LastingConsumer), {**config, **own})

    def close(self) -> None:
        """Disconnect."""
        self._consumer.close()

    def partitions(self, topic: str) -> list[int]:
        """The partitions of a topic; none where it does not exist."""
        return sorted(self._consumer.list_topics(topic, timeout=REQUEST_S).topics[topic].partitions)

    def ends(self) -> dict[int, int]:
        """{events partition: its end}."""
        found = {}
        for number in self.partitions(self._topic):
            place = TopicPartition(self._topic, number)
            found[number] = ask_leaders(partial(self._end, place), REQUEST_S)
        return found

    def _end(self, place: TopicPartition) -> int:
        return self._consumer.get_watermark_offsets(place, timeout=REQUEST_S)[1]

    def committed(self) -> dict[int, int]:
        """{events partition: what the group has committed}; without those of which it has nothing."""
        asked = [(self._topic, number) for number in self.partitions(self._topic)]
        try:
            found = ask_committed(self._consumer, asked, REQUEST_S)
        except KafkaException as failed:
            if failed.args[0].code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
                raise NotAuthorized(self._principal, [("Read", f"group {self._group}")]) from failed
            raise
        return {number: place.offset for (_, number), place in found.items()}

    def has_event(self, partition: int, offset: int) -> bool:
        """Whether a partition has a record at or after the offset: its last offsets may hold a transaction's marks."""
        self._consumer.assign([TopicPartition(self._topic, partition, offset)])
        try:
            found = self._consumer.consume(1, REQUEST_S)
        finally:
            self._consumer.unassign()
        return any(message.error() is None for message in found)

    def begin(self) -> None:
        """Let the group begin where statistics reach back to: older events are counted nowhere.

        A group with members keeps its offsets: they have begun already.
        """
        numbers = self.partitions(self._topic)
        since_ms = int((time.time() - KEEP_S) * 1e3)
        asked = [TopicPartition(self._topic, number, since_ms) for number in numbers]
        committed, ends = self.committed(), self.ends()  # the ends first: what comes meanwhile is counted
        starts = ask_leaders(lambda: answered(self._consumer.offsets_for_times(asked, timeout=REQUEST_S)), REQUEST_S)
        wanted = {place.partition: place.offset if place.offset >= 0 else ends[place.partition] for place in starts}
        late = [
            TopicPartition(self._topic, number, offset)
            for number, offset in wanted.items()
            if committed.get(number, -1) < offset
        ]
        if late:
            self._commit(late)

    def _commit(self, places: list[TopicPartition]) -> None:
        try:
            self._consumer.commit(offsets=places, asynchronous=False)
        except KafkaException as refused:
            if refused.args[0].code() not in _HAS_MEMBERS:
                raise
