"""What a group's commits say of its progress, and how tests change what they stand on."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from stoker.consumers.kafka.clients import make_reader
from stoker.consumers.partitions.chunk_reader import FoundChunks, read_chunks
from stoker.consumers.partitions.chunk_records import ChunkKey
from stoker.consumers.progress.offset_set import OffsetSet
from stoker.producers import Producer
from stoker.topology import ClusterSettings, Queue
from stoker.topology.wire.commit_metadata import CommitMetadata
from support.program import TESTS, program
from support.programs.parking_worker import HELD_KEY, declare
from support.scenes.worker import create, ends, read_topic
from support.waiting import wait_until

DEADLINE_S = 120.0
_COORDINATOR_COMES = (
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
    KafkaError._TIMED_OUT,
    KafkaError._WAIT_COORD,
)
T = TypeVar("T")


def commit_of(cluster: ClusterSettings, queue: Queue, topic: str | None = None, partition: int = 0) -> TopicPartition:
    """The group's commit for a partition, metadata included."""
    place = TopicPartition(topic or queue.topic, partition)
    with _asking(cluster, queue.group) as consumer:
        (found,) = _answer(lambda: consumer.committed([place], timeout=10))
    return found


def commit_as_one_who_left(cluster: ClusterSettings, group: str, *places: TopicPartition) -> None:
    """Commit for a group without members."""
    with _asking(cluster, group) as consumer:
        _answer(lambda: consumer.commit(offsets=list(places), asynchronous=False))


@contextmanager
def _asking(cluster: ClusterSettings, group: str) -> Iterator[Consumer]:
    consumer = Consumer(cluster.client_config() | {"group.id": group})
    try:
        yield consumer
    finally:
        consumer.close()


def _answer(ask: Callable[[], T]) -> T:
    """Ask again while the group's coordinator is about to come, as on a broker that has just started."""

    def attempt() -> tuple[T] | None:
        try:
            return (ask(),)
        except KafkaException as refused:
            if refused.args[0].code() not in _COORDINATOR_COMES:
                raise
            return None

    (answer,) = wait_until(attempt, DEADLINE_S, "the group's coordinator")
    return answer


def state_of(cluster: ClusterSettings, queue: Queue, topic: str | None = None) -> CommitMetadata | None:
    """What the commit of partition 0 says."""
    found = commit_of(cluster, queue, topic)
    return CommitMetadata.decode(found.metadata, found.offset)


def wait_state(cluster: ClusterSettings, queue: Queue, *, position: int, incomplete: int) -> CommitMetadata:
    """Wait until the commit knows of all up to `position`, and that so many of it are incomplete."""

    def look() -> CommitMetadata | None:
        state = state_of(cluster, queue)
        if state is None or state.position != position:
            return None
        left = state.incomplete if state.spilled_at is None else spilled(cluster, queue, state).runs()
        return state if sum(end - start for start, end in left) == incomplete else None

    found = wait_until(look, DEADLINE_S, f"a commit that knows of {position} offsets and {incomplete} incomplete ones")
    assert found is not None
    return found


def spilled(cluster: ClusterSettings, queue: Queue, state: CommitMetadata) -> OffsetSet:
    """What the progress topic says to be incomplete of partition 0, where a commit refers to that."""
    reader = make_reader(cluster, queue, "test-spilled", {})
    try:
        assert state.spilled_at is not None
        place = TopicPartition(queue.topic, 0)
        found = read_chunks(reader, queue.progress_topic, place, state.spilled_at, lambda: False) or FoundChunks()
    finally:
        reader.close()
    return found.incomplete(state.committed_offset, state.position)


def chunks_of(cluster: ClusterSettings, queue: Queue) -> dict[ChunkKey, bytes]:
    """{key: the last value} of all chunks that are on the progress topic of partition 0."""
    found: dict[ChunkKey, bytes] = {}
    for record in read_topic(cluster, queue.progress_topic, queue.partitions):
        key = ChunkKey.decode(record.key())
        assert key is not None
        found[key] = bytes(record.value() or b"")
    return {key: value for key, value in found.items() if value}


def move_group(cluster: ClusterSettings, queue: Queue, offset: int) -> None:
    """Do what an operator does with kafka-consumer-groups --reset-offsets; the group must be empty."""
    admin = AdminClient(cluster.client_config())
    wanted = ConsumerGroupTopicPartitions(queue.group, [TopicPartition(queue.topic, 0, offset)])

    def is_moved() -> bool:
        (answer,) = admin.alter_consumer_group_offsets([wanted]).values()
        return answer.exception(30) is None

    wait_until(is_moved, DEADLINE_S, "the group to be empty, so that its offsets may be moved")


def delete_records(cluster: ClusterSettings, topic: str, before: int | None = None) -> None:
    """Delete the records of partition 0 before an offset, or all."""
    end = ends(cluster, topic, 1)[0] if before is None else before
    admin = AdminClient(cluster.client_config())
    for future in admin.delete_records([TopicPartition(topic, 0, end)]).values():
        future.result(30)


def delete_all_records(cluster: ClusterSettings, topic: str) -> None:
    """Delete all records of a topic, as its retention does in the end."""
    admin = AdminClient(cluster.client_config())
    partitions = admin.list_topics(topic, timeout=30).topics[topic].partitions
    wanted = [TopicPartition(topic, number, end) for number, end in ends(cluster, topic, len(partitions)).items()]
    for future in admin.delete_records(wanted).values():
        future.result(30)


class Parked:
    """A queue of one partition with jobs of which some stand still, and worker processes to kill."""

    def __init__(self, cluster: ClusterSettings, namespace: str, folder: Path) -> None:
        self.cluster, self.namespace = cluster, namespace
        self.file, self.release = folder / "runs", folder / "release"
        self.file.touch()
        self.pipeline, self.queue, self._act = declare(namespace, self.file, self.release)
        self.processes: list[subprocess.Popen[bytes]] = []
        create(self.pipeline, cluster)

    def enqueue(self, jobs: int, *, held_every: int | None = None, stands: bool = True) -> None:
        """Publish jobs, numbered from 0; the first stands still, and so does each n-th behind it, of the same key."""
        with Producer(self.pipeline, self.cluster) as producer:
            result = producer.enqueue_many(
                self._act.with_options(
                    job_id=f"{jobs}-{n}",
                    key=HELD_KEY if n == 0 or (held_every and n % held_every == 0) else f"k{n % 97}",
                ).call(n, stands and n == 0)
                for n in range(jobs)
            )
        assert result.confirmed == jobs

    def start(self) -> subprocess.Popen[bytes]:
        """Start a worker process."""
        files = [str(self.file), str(self.release)]
        command = [*program("parking_worker"), self.cluster.bootstrap_servers, self.namespace, *files]
        process = subprocess.Popen(command, cwd=TESTS, stderr=subprocess.DEVNULL)
        self.processes.append(process)
        return process

    def runs(self) -> Counter[int]:
        """{job: times that it began}."""
        return Counter(map(int, self.file.read_text().split()))

    def run_count(self) -> int:
        """How many runs began."""
        return self.file.read_bytes().count(b"\n")


@contextmanager
def parked(cluster: ClusterSettings, namespace: str, folder: Path) -> Iterator[Parked]:
    """Such a queue, whose processes are ended afterwards."""
    made = Parked(cluster, namespace, folder)
    try:
        yield made
    finally:
        for process in made.processes:
            process.kill()
            process.wait(10)
