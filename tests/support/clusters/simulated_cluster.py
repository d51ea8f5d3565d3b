"""`SimulatedCluster`: the brokers and clients of `tests/simulation/`, as a `Cluster`."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from itertools import count

from confluent_kafka import KafkaError, TopicPartition

from simulation.brokers import SimBrokers
from simulation.clients import SimConsumer, SimProducer
from simulation.world import Shape, World
from stoker.topology import Queue
from stoker.topology.cluster.settings import Option
from support.clusters.cluster import NO_OPTIONS, OPENER, Client, Shares, Writer, at

LIMIT = 4_096


class _Member:
    """A process that does nothing but commit."""

    def __init__(self, brokers: SimBrokers) -> None:
        self._brokers = brokers

    def note_commit(self, places: list[TopicPartition]) -> None:
        """Take it at once."""
        self.commit_now(places)

    def commit_now(self, places: list[TopicPartition]) -> KafkaError | None:
        """Ask the coordinator."""
        return self._brokers.commit(places, self)


class SimulatedCluster:
    """Kafka as the worker's simulation has it."""

    def __init__(self) -> None:
        self._brokers = SimBrokers(LIMIT)
        self._numbers = count()
        self._partitions: dict[str, int] = {}
        self._members: dict[Client, _Member] = {}

    def make_topic(self, *, partitions: int = 1, most_bytes: int | None = None, is_compacted: bool = False) -> str:
        """Make a topic."""
        topic = f"topic-{next(self._numbers)}"
        self._partitions[topic] = partitions
        if most_bytes is not None:
            self._brokers.limits[topic] = most_bytes
        return topic

    def write(self, topic: str, *values: bytes | None, key: bytes | None = None) -> None:
        """Write records."""
        for value in values:
            self._brokers.append(topic, 0, key, value, [])

    def begin_transaction(self, topic: str, *values: bytes) -> Callable[[bool], None]:
        """Write records in a transaction."""
        log = self._brokers.logs[topic, 0]
        log.begin_transaction()
        offsets = [self._brokers.append(topic, 0, None, value, []).offset() or 0 for value in values]

        def end(is_committed: bool) -> None:
            log.end_transaction([] if is_committed else offsets)

        return end

    def cut(self, topic: str, before: int) -> None:
        """Remove what is old."""
        self._brokers.logs[topic, 0].cut(before)

    def compact(self, topic: str) -> None:
        """Remove what was written anew."""
        self._brokers.logs[topic, 0].compact()
        self.write(topic, b"", key=OPENER)

    def reader(self, options: Mapping[str, Option] = NO_OPTIONS) -> Client:
        """A consumer beside the group."""
        return SimConsumer(self._brokers, _Member(self._brokers))

    def join(self, topic: str) -> Client:
        """The group's one member."""
        member = _Member(self._brokers)
        client = SimConsumer(self._brokers, member)
        self._members[client] = member
        client.incremental_assign([at(topic, -1_001, number) for number in range(self._partitions[topic])])
        return client

    def replace(self, member: Client, topic: str) -> Client:
        """Take a member for dead."""
        self._brokers.fenced.add(self._members[member])
        return self.join(topic)

    def writer(self, *, is_lone: bool = False) -> Writer:
        """A producer all of whose writes are answered."""
        return SimProducer(self._brokers, deque(), lambda: None, is_lone=is_lone)

    def share(self, queue: Queue, members: Sequence[str]) -> Shares:
        """As the world's processes get their partitions, one after the other."""
        world = World(Shape())
        processes = {name: world.join(0.0) for name in members}
        for number, process in enumerate(processes.values()):
            world.assign(process, number, in_parts=False)
        held = {name: process.assignments.all() for name, process in processes.items()}
        names = dict(zip(world.topics, queue.job_topics, strict=True))
        return {name: {(names[found.topic], found.partition) for found in given} for name, given in held.items()}
