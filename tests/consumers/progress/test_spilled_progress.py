"""Progress that does not fit a commit comes back from a real broker's progress topic, chunk by chunk."""

from __future__ import annotations

from confluent_kafka import Producer as PlainProducer
from confluent_kafka import TopicPartition

from stoker.consumers.commits.spill import Spill
from stoker.consumers.kafka.clients import make_reader, spilling_producer
from stoker.consumers.partitions.chunk_reader import FoundChunks, read_chunks
from stoker.consumers.partitions.chunk_records import ChunkKey, encode_chunk
from stoker.consumers.progress.assignment import Assignment
from stoker.producers import Producer
from stoker.topology import ClusterSettings, Queue
from stoker.topology.declaration.queue import LedgerWindow
from stoker.topology.wire.commit_metadata import SpilledAt
from support.kafka.commits import DEADLINE_S, chunks_of, delete_records, state_of, wait_state
from support.scenes.worker import Gate, Journal, create, declare_queue, running_worker, wait_all_committed
from support.small_chunks import small_chunks
from support.waiting import wait_until

JOBS = 6_000
CHUNK_BITS = 9
EPOCH_OF_ANOTHER = 99


def write(cluster: ClusterSettings, queue: Queue, key: ChunkKey, value: bytes | None) -> None:
    """Write a chunk, as somebody else."""
    producer = PlainProducer(cluster.client_config())
    producer.produce(queue.progress_topic, key=key.encode(), value=value, partition=key.partition)
    assert producer.flush(10) == 0


def claim_all_complete(cluster: ClusterSettings, queue: Queue) -> None:
    """Write under another epoch that each job is complete: what an owner that was cut off could write in its time."""
    for number in range((JOBS >> CHUNK_BITS) + 1):
        key = ChunkKey(queue.topic, 0, EPOCH_OF_ANOTHER, number)
        size = 1 << CHUNK_BITS
        write(cluster, queue, key, encode_chunk(key.encode(), size, bytes(size // 8)))


def test_progress_in_many_chunks_is_the_present_owners_alone(cluster: ClusterSettings, namespace: str) -> None:
    """Every other job waits behind a stuck one. The next owner runs those again and no other, whatever one that was cut
    off writes meanwhile; and it leaves no chunk behind."""
    journal, gate = Journal(), Gate()
    pipeline, queue = declare_queue(namespace, partitions=1, ledger=LedgerWindow(jobs=1))

    @pipeline.job(queue)
    def note(number: int) -> None:
        journal.note(number)
        if number == 0:
            gate.wait()

    create(pipeline, cluster)
    with Producer(pipeline, cluster) as producer:
        keys = ("held" if number % 2 == 0 else f"k{number % 7}" for number in range(JOBS))
        producer.enqueue_many(note.with_options(key=key).call(number) for number, key in enumerate(keys))
    with small_chunks(CHUNK_BITS, 64):
        with running_worker(pipeline, cluster) as worker:
            worker.wait_outcomes(DEADLINE_S, Done=JOBS // 2)
            wait_state(cluster, queue, position=JOBS, incomplete=JOBS // 2)
            worker.stop(at_once=True)
        state = state_of(cluster, queue)
        assert state is not None
        assert state.spilled_at is not None
        assert not state.is_open
        assert {key.epoch for key in chunks_of(cluster, queue)} == {state.spilled_at.epoch}
        claim_all_complete(cluster, queue)
        delete_records(cluster, queue.ledger_topic)
        gate.open()
        with running_worker(pipeline, cluster):
            wait_all_committed(cluster, queue, DEADLINE_S)
        wait_until(lambda: not chunks_of(cluster, queue), DEADLINE_S, "the chunks to be deleted")
    assert journal.times() == {0: 2, **dict.fromkeys(range(1, JOBS), 1)}


def test_a_million_waiting_among_ten_million_come_back(cluster: ClusterSettings, namespace: str) -> None:
    """All 153 chunks; of one that is damaged and of one that is missing, all offsets count as incomplete."""
    pipeline, queue = declare_queue(namespace, partitions=1)
    create(pipeline, cluster)
    place, end = Assignment(1, queue.topic, 0), 10_000_000
    for offset in range(0, end, 10):
        place.progress.note_delivered(offset)
    place.progress.pass_gap(end)
    spill = Spill(queue, lambda: spilling_producer(cluster, "test"), lambda: 5)
    spill.offer_last(place)
    spill.wait(60)
    assert place.commit_state.spilled_at is not None
    written = place.progress.incomplete_set()
    assert read(cluster, queue, place.commit_state.spilled_at).incomplete(0, end).runs() == written.runs()
    write(cluster, queue, ChunkKey(queue.topic, 0, 5, 7), b"damaged")
    write(cluster, queue, ChunkKey(queue.topic, 0, 5, 9), None)
    found = read(cluster, queue, place.commit_state.spilled_at)
    for number in (7, 9):
        written.fill(number * 65_536, (number + 1) * 65_536)
    assert found.incomplete(0, end).runs() == written.runs()
    assert [start >> 16 for start, _ in found.unread(0)] == [7, 9]


def read(cluster: ClusterSettings, queue: Queue, spilled_at: SpilledAt) -> FoundChunks:
    """As a new owner does."""
    reader = make_reader(cluster, queue, "test", {"fetch.wait.max.ms": 10})
    try:
        place = TopicPartition(queue.topic, 0)
        found = read_chunks(reader, queue.progress_topic, place, spilled_at, lambda: False)
    finally:
        reader.close()
    assert found is not None
    return found


def test_a_queue_without_a_progress_topic_has_no_chunks(cluster: ClusterSettings, namespace: str) -> None:
    """It was deleted: the new owner goes on without."""
    _, queue = declare_queue(namespace, partitions=1)
    reader = make_reader(cluster, queue, "test", {"fetch.wait.max.ms": 10})
    try:
        place = TopicPartition(queue.topic, 0)
        assert read_chunks(reader, queue.progress_topic, place, SpilledAt(1, 0), lambda: False) is None
    finally:
        reader.close()
