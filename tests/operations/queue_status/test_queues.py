"""What `stoker queues` tells: every figure against a log whose contents are known."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from stoker.operations.cli.exit_codes import ExitCode
from stoker.operations.cluster_view import ClusterView
from stoker.operations.queue_status.offset_reading import OffsetReading, read_offsets
from stoker.operations.queue_status.queues import QueueStatus, count_open_dead_letters, inspect_queues
from stoker.operations.stored_jobs.errors import ReadStalled
from stoker.operations.stored_jobs.stored_job import record_of
from stoker.operations.stored_jobs.topic_reader import TopicReader
from stoker.topology import ClusterSettings, Queue
from stoker.topology.cluster.settings import ClusterUnreachable
from stoker.topology.declaration.delays import DelayClass
from stoker.topology.wire.headers import DISPOSITION, DUE, SETTLES, format_instant
from support.scenes.shop_application import Shop, make_shop, open_shop
from support.waiting import wait_until


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, namespace: str, cluster: ClusterSettings) -> Shop:
    """An application with its topics: `mails` has two partitions and two tiers, `bills` one and the default tiers."""
    return open_shop(tmp_path, monkeypatch, namespace, cluster)


@pytest.fixture
def mails(shop: Shop) -> Queue:
    """The queue that the tests fill."""
    return shop.pipeline.queues["mails"]


@pytest.fixture
def view(cluster: ClusterSettings) -> ClusterView:
    """A view of the tests' cluster."""
    return ClusterView(cluster, timeout_s=60.0)


def write(cluster: ClusterSettings, topic: str, count: int, *, partition: int = 0, due: datetime | None = None) -> None:
    """Put records on a partition."""
    producer = Producer(cluster.client_config())
    headers: dict[str, str | bytes | None] = {} if due is None else {DUE: format_instant(due)}
    for _ in range(count):
        producer.produce(topic, b"x", partition=partition, headers=headers)
    assert producer.flush(30) == 0


@contextmanager
def member(cluster: ClusterSettings, queue: Queue) -> Iterator[Consumer]:
    """A member of the queue's group, with its partitions; leaves at the end."""
    consumer = Consumer(
        {**cluster.client_config(), "group.id": queue.group, "group.protocol": "consumer", "enable.auto.commit": False}
    )
    consumer.subscribe([queue.topic])
    wait_until(lambda: consumer.poll(0.05) or consumer.assignment(), what="an assignment")
    try:
        yield consumer
    finally:
        consumer.close()


def commit(consumer: Consumer, *offsets: tuple[str, int, int]) -> None:
    """Commit offsets given as (topic, partition, offset)."""
    consumer.commit(offsets=[TopicPartition(*offset) for offset in offsets], asynchronous=False)


def status(view: ClusterView, queue: Queue, before: OffsetReading | None = None) -> QueueStatus:
    """The status of one queue now."""
    [found] = inspect_queues(view, [queue], read_offsets(view, [queue]), before)
    return found


def test_without_a_commit_everything_waits(cluster: ClusterSettings, view: ClusterView, mails: Queue) -> None:
    """A queue no worker has ever touched has all of its records waiting: 3 + 2 on main, 1 in a tier."""
    write(cluster, mails.topic, 3)
    write(cluster, mails.topic, 2, partition=1)
    write(cluster, mails.retry_topics[timedelta(minutes=1)], 1)
    found = status(view, mails)
    assert (found.waiting, found.lag) == (6, 5)
    assert [(backlog.source.title, backlog.waiting) for backlog in found.backlogs] == [
        ("main", 5),
        ("retry 1s", 0),
        ("retry 1m", 1),
        *((f"delay {name}", 0) for name in DelayClass),
        ("carried", 0),
    ]
    assert found.group.state == "absent"


def test_what_is_committed_does_not_wait(cluster: ClusterSettings, view: ClusterView, mails: Queue) -> None:
    """Of 5 records with 3 committed, 2 wait, also after the worker has left."""
    write(cluster, mails.topic, 5)
    with member(cluster, mails) as worker:
        commit(worker, (mails.topic, 0, 3))
        assert len(status(view, mails).group.members) == 1
    found = status(view, mails)
    assert (found.waiting, found.group.members) == (2, ())


def test_the_oldest_is_that_at_the_committed_offset(cluster: ClusterSettings, view: ClusterView, mails: Queue) -> None:
    """Of three records with the first one committed, the oldest that waits is the second, by the broker's clock."""
    for _ in range(3):
        write(cluster, mails.topic, 1)
    with member(cluster, mails) as worker:
        commit(worker, (mails.topic, 0, 1))
    with TopicReader(cluster, mails.topic) as reader:
        written = [record_of(message).at for message in reader.read(reader.spans())]
    assert len(set(written)) == 3
    assert status(view, mails).oldest == written[1]


def test_transaction_markers_at_the_end_are_not_jobs(cluster: ClusterSettings, view: ClusterView, mails: Queue) -> None:
    """A replayed job leaves a marker behind it: after the job is committed, nothing waits."""
    producer = Producer({**cluster.client_config(), "transactional.id": f"{mails.topic}.test"})
    producer.init_transactions(20)
    producer.begin_transaction()
    producer.produce(mails.topic, b"x", partition=0)
    producer.commit_transaction(20)
    assert status(view, mails).waiting > 0
    with member(cluster, mails) as worker:
        commit(worker, (mails.topic, 0, 1))
    reading = read_offsets(view, [mails])
    assert reading.lag((mails.topic, 0)) == 1
    assert status(view, mails).waiting == 0


def test_the_pace_is_counted_between_two_readings(cluster: ClusterSettings, view: ClusterView, mails: Queue) -> None:
    """10 published and 4 committed within 2 s are 5/s in and 2/s done."""
    write(cluster, mails.topic, 3)
    with member(cluster, mails) as worker:
        before = read_offsets(view, [mails], clock=lambda: 100.0)
        write(cluster, mails.topic, 10)
        commit(worker, (mails.topic, 0, 4))
        after = read_offsets(view, [mails], clock=lambda: 102.0)
        [found] = inspect_queues(view, [mails], after, before)
    assert found.pace is not None
    assert (found.pace.enqueued_per_s, found.pace.done_per_s) == (5.0, 2.0)


def test_a_queue_without_workers_says_how_to_start_one(
    cluster: ClusterSettings, view: ClusterView, mails: Queue
) -> None:
    """Jobs that wait with nobody to run them are the first thing an operator must see."""
    assert status(view, mails).obstacles == ()
    write(cluster, mails.topic, 1)
    assert "stoker worker --queue mails" in status(view, mails).obstacles[0]


def test_workers_that_make_no_progress_are_reported(cluster: ClusterSettings, view: ClusterView, mails: Queue) -> None:
    """Jobs wait, a worker is there, and nothing moved between two readings: somebody should look at the worker."""
    write(cluster, mails.topic, 1)
    with member(cluster, mails):
        before = read_offsets(view, [mails])
        assert "no progress" in status(view, mails, before).obstacles[0]


def test_a_retry_that_is_not_due_hinders_nobody(cluster: ClusterSettings, view: ClusterView, mails: Queue) -> None:
    """A tier's job waits by intent until it is due; overdue, it misses a worker."""
    tier, topic = list(mails.retry_topics.items())[1]
    write(cluster, topic, 1, due=datetime.now(UTC) + tier)
    found = status(view, mails)
    assert found.backlogs[2].due is not None
    assert found.obstacles == ()
    write(cluster, topic, 1, partition=1, due=datetime.now(UTC) - tier)
    assert "no worker" in status(view, mails).obstacles[0]


def test_missing_topics_are_reported(
    view: ClusterView, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, namespace: str
) -> None:
    """Before the topology is applied, the queue says so instead of showing zeros."""
    queue = make_shop(tmp_path, monkeypatch, namespace).pipeline.queues["mails"]
    found = status(view, queue)
    assert not found.backlogs[0].exists
    assert found.obstacles == (
        f"the cluster has no {queue.topic} and 7 more of its topics: run `stoker topology apply`",
    )


def test_dead_letters_are_counted_by_reading_and_bounded_from_above_without_it(
    cluster: ClusterSettings, view: ClusterView, mails: Queue
) -> None:
    """Three dead letters, one of them discarded, are four records: at most four without reading, two when read."""
    write(cluster, mails.dead_topic, 3)
    producer = Producer(cluster.client_config())
    headers: dict[str, str | bytes | None] = {DISPOSITION: b"discarded", SETTLES: b"1"}
    producer.produce(mails.dead_topic, None, partition=0, headers=headers)
    assert producer.flush(30) == 0
    found = status(view, mails)
    assert (found.dead, found.dead_at_most) == (None, 4)
    assert count_open_dead_letters(cluster, mails) == 2


def test_a_broker_that_is_down_is_reported_within_the_time_given(mails: Queue, cluster: ClusterSettings) -> None:
    """No question waits for ever."""
    began_at_s = time.monotonic()
    with pytest.raises(ClusterUnreachable, match=r"127\.0\.0\.1:1"):
        read_offsets(ClusterView(replace(cluster, bootstrap_servers="127.0.0.1:1"), timeout_s=1.0), [mails])
    assert time.monotonic() - began_at_s < 30


def test_the_table_shows_a_row_for_each_queue_and_topic_with_jobs(shop: Shop, cluster: ClusterSettings) -> None:
    """People see the figures, the tiers that hold something, and what is in the way."""
    write(cluster, shop.pipeline.queues["mails"].topic, 1_234)
    result = shop.stoker("queues", "--sample", "0s")
    assert result.exit_code == ExitCode.OK, result.stderr
    lines = result.stdout.splitlines()
    assert [line.split()[:2] for line in lines[1:3]] == [["mails", "1,234"], ["main", "1,234"]]
    assert lines[3].startswith("  ! no worker runs")
    assert lines[4].split()[:2] == ["bills", "0"]


def test_json_has_the_same_figures_as_data(shop: Shop, cluster: ClusterSettings) -> None:
    """Programs get each figure under its own name, for the queues they ask for."""
    write(cluster, shop.pipeline.queues["mails"].topic, 2)
    result = shop.stoker("queues", "mails", "--json", "--exact", "--sample", "10ms")
    assert result.exit_code == ExitCode.OK, result.stderr
    [found] = json.loads(result.stdout)
    assert (found["queue"], found["waiting"], found["lag"]) == ("mails", 2, 2)
    assert found["dead"] == {"count": 0, "is_exact": True, "at_most": 0}
    assert found["enqueued_per_s"] == found["done_per_s"] == 0
    assert found["oldest_waiting_s"] < 60
    assert [topic["waiting"] for topic in found["topics"]] == [2, 0, 0, 0, 0, 0, 0]
    assert [topic["delay"] for topic in found["topics"]] == [None, None, None, *DelayClass, None]


def test_watching_looks_again_until_it_is_interrupted(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """--watch --json prints a line for each reading, and Ctrl+C ends it."""
    pauses = iter([None, None])

    def pause(_s: float) -> None:
        if next(pauses, "over") == "over":
            raise KeyboardInterrupt

    monkeypatch.setattr("stoker.operations.commands.queues.time.sleep", pause)
    result = shop.stoker("queues", "bills", "--watch", "--json")
    assert result.exit_code == ExitCode.INTERRUPTED
    looks = [json.loads(line) for line in result.stdout.splitlines()]
    assert [reading[0]["queue"] for reading in looks] == ["bills"] * 3
    assert [reading[0]["done_per_s"] for reading in looks] == [None, 0, 0]


@pytest.mark.parametrize(
    "outage",
    [
        ClusterUnreachable("localhost:1", "connection refused"),
        ReadStalled("bills.dead", [0], 10),
        KafkaException(KafkaError(KafkaError.NOT_LEADER_FOR_PARTITION)),
    ],
    ids=lambda error: type(error).__name__,
)
def test_watching_goes_on_where_dead_letters_cannot_be_counted(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, outage: Exception
) -> None:
    """Brokers that go between a reading and its count of dead letters end no watch."""
    counts: Iterator[int | BaseException] = iter([0, outage, 0, KeyboardInterrupt()])

    def count(_status: QueueStatus) -> int:
        found = next(counts)
        if isinstance(found, BaseException):
            raise found
        return found

    monkeypatch.setattr("stoker.operations.commands.queues._count_few_of", lambda _app: count)
    result = shop.stoker("queues", "bills", "--watch", "--json", "--sample", "10ms")
    assert result.exit_code == ExitCode.INTERRUPTED
    assert len(result.stdout.splitlines()) == 2
    assert "looking again" in result.stderr


def test_watching_goes_on_over_an_outage(shop: Shop, cluster: ClusterSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who watches a broker restart sees it come back; the outage is reported once beside the readings."""
    answers = iter(["look", "outage", "outage", "look"])

    def read(view: ClusterView, queues: Sequence[Queue]) -> OffsetReading:
        what = next(answers, None)
        if what is None:
            raise KeyboardInterrupt
        if what == "outage":
            raise ClusterUnreachable(cluster.bootstrap_servers, "connection refused")
        return read_offsets(view, queues)

    monkeypatch.setattr("stoker.operations.queue_status.offset_reading.read_offsets", read)
    result = shop.stoker("queues", "bills", "--watch", "--json", "--sample", "10ms")
    assert result.exit_code == ExitCode.INTERRUPTED
    assert len(result.stdout.splitlines()) == 2
    assert result.stderr.count("connection refused") == 1
