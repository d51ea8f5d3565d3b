"""A worker in this process on a real cluster, and what its jobs did: for the tests of the worker as a whole."""

from __future__ import annotations

import gc
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from types import MappingProxyType
from typing import Any, Unpack

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # the package re-exports them without saying so
    AdminClient,
    OffsetSpec,
)

from stoker.consumers import Instrument, Pause, Worker, WorkerSettings, current_job
from stoker.consumers.partitions.ledger_records import names_of
from stoker.topology import ClusterSettings, Pipeline, Queue
from stoker.topology.cluster.admin import Administration
from stoker.topology.cluster.committed_offsets import committed_offsets
from stoker.topology.declaration.pipeline import QueueShape
from stoker.topology.planning.apply import ensure_topology
from stoker.topology.planning.group_settings import HEARTBEAT, group_settings
from support.waiting import wait_until

LOGGER = logging.getLogger("tests")
TIERS = (timedelta(milliseconds=300), timedelta(seconds=1))
ASKED_AGAIN_FOR_S = 60.0
"""A group whose coordinator is about to come or go is asked again for so long."""
DEADLINE_S = 60.0
STARTING_CODES = frozenset(
    {
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError._TRANSPORT,
        KafkaError._TIMED_OUT,
    }
)
SESSION_TIMEOUT = timedelta(seconds=4)
"""Longer than a busy machine keeps a living worker, or its broker, from a heartbeat: else its jobs come to another."""
HEARTBEAT_MS = 500
"""With that of a third of the session, each step of a rebalance would take as long."""
SHORT_GRACES = {"grace": timedelta(seconds=5), "revoke_grace": timedelta(seconds=5)}


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a job, noted by the job itself."""

    what: Any
    attempt: int
    job_id: str
    at_s: float
    place: str


class Journal:
    """What jobs did, in the order in which they noted it."""

    def __init__(self) -> None:
        self.runs: list[Run] = []

    def note(self, what: Any) -> Run:
        """Called by a job."""
        job = current_job()
        run = Run(what, job.attempt, job.job_id, time.time(), job.place)
        self.runs.append(run)
        return run

    @property
    def noted(self) -> list[Any]:
        """What was noted, in order."""
        return [run.what for run in list(self.runs)]

    def times(self) -> Counter[Any]:
        """How often each was noted."""
        return Counter(self.noted)

    def wait(self, count: int, within_s: float = DEADLINE_S) -> list[Any]:
        """Wait for so many notes."""
        wait_until(lambda: len(self.runs) >= count, within_s, f"{count} runs; there are {len(self.runs)}")
        return self.noted

    def wait_for(self, *expected: Any, within_s: float = DEADLINE_S) -> None:
        """Wait until each of these was noted."""
        wait_until(lambda: set(expected) <= set(self.noted), within_s, f"runs of {expected}")


@dataclass
class Gate:
    """Holds jobs until the test lets them go."""

    opened: threading.Event = field(default_factory=threading.Event)
    waiting: int = 0

    def wait(self) -> None:
        """Called by a job."""
        self.waiting += 1
        assert self.opened.wait(60)

    def open(self) -> None:
        """Let all go."""
        self.opened.set()


def declare_queue(namespace: str, **shape: Unpack[QueueShape]) -> tuple[Pipeline, Queue]:
    """A pipeline with one queue `work` of two partitions and two short tiers."""
    pipeline = Pipeline(namespace)
    wanted: QueueShape = {"partitions": 2, "tiers": TIERS, **shape}
    return pipeline, pipeline.queue("work", **wanted)


def create(pipeline: Pipeline, cluster: ClusterSettings) -> None:
    """Put all that is declared on the cluster, with short sessions of the groups where it allows them."""
    ensure_topology(pipeline, cluster)
    for queue in pipeline.queues.values():
        shorten_session(cluster, queue)


def shorten_session(cluster: ClusterSettings, queue: Queue) -> None:
    """The group detects a killed member after 4 s instead of 45 s; a cluster that refuses only takes longer."""
    settings = group_settings(replace(queue, session_timeout=queue.session_timeout or SESSION_TIMEOUT))
    settings |= {} if queue.session_timeout else {HEARTBEAT: str(HEARTBEAT_MS)}
    for refusal in Administration(cluster).set_group_configs({queue.group: settings}).values():
        LOGGER.info("the cluster keeps its session timeout: %s", refusal)


class RunningWorker:
    """A worker and the thread that runs it."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="test-worker")
        self._thread.start()

    def _run(self) -> None:
        try:
            self.worker.run()
        except BaseException as error:  # noqa: BLE001  # told where the test joins
            self.failure = error

    @property
    def partitions(self) -> tuple[int, ...]:
        """What it owns of its first queue."""
        return self.worker.snapshot()[0].partitions

    def wait_partitions(self, count: int) -> None:
        """Wait until it owns so many."""
        wait_until(lambda: len(self.partitions) == count, DEADLINE_S, f"{count} partitions, has {self.partitions}")

    def outcomes(self) -> Mapping[str, int]:
        """{outcome: count} of its first queue."""
        return self.worker.snapshot()[0].outcomes

    def wait_outcomes(self, within_s: float = DEADLINE_S, **expected: int) -> None:
        """Wait until there are at least so many of each."""
        wait_until(
            lambda: all(self.outcomes().get(name, 0) >= count for name, count in expected.items()),
            within_s,
            f"{expected}",
        )

    def stop(self, *, at_once: bool = False, within_s: float = DEADLINE_S) -> None:
        """Stop it, and wait for its end."""
        if at_once:
            self.worker.stop_now()
        else:
            self.worker.stop()
        self._thread.join(within_s)
        assert not self._thread.is_alive(), "the worker did not end"
        if self.failure is not None:
            raise self.failure


@contextmanager
def running_worker(
    pipeline: Pipeline,
    cluster: ClusterSettings,
    *,
    instruments: Iterable[Instrument] = (),
    paused: Iterable[Pause] = (),
    **settings: Any,
) -> Iterator[RunningWorker]:
    """A worker that runs, with pauses that stand before; it is stopped afterwards if the test has not done so."""
    thresholds = gc.get_threshold()
    settings = SHORT_GRACES | settings
    worker = Worker(pipeline, cluster, WorkerSettings(**settings), instruments=instruments)
    for pause in paused:
        worker.pause(pause.queue, job_type=pause.job_type, key=pause.key)
    running = RunningWorker(worker)
    try:
        yield running
    finally:
        running.stop()
        gc.set_threshold(*thresholds)


# ---- what stands on the topics


def committed(cluster: ClusterSettings, queue: Queue, topic: str | None = None) -> dict[int, int]:
    """{partition: committed offset} of the queue's group; partitions without a commit are left out."""
    places = [(topic or queue.topic, number) for number in range(queue.partitions)]
    found = committed_offsets(cluster, queue.group, places, ASKED_AGAIN_FOR_S)
    return {partition: offset for (_, partition), offset in found.items()}


def ends(cluster: ClusterSettings, topic: str, partitions: int) -> dict[int, int]:
    """{partition: end offset}; a broker that has just come up is asked again until it knows."""
    admin = AdminClient(cluster.client_config())  # held by name: its answers end with it
    return wait_until(lambda: _ends_if_known(admin, topic, partitions), DEADLINE_S, f"the ends of {topic}")


def _ends_if_known(admin: AdminClient, topic: str, partitions: int) -> dict[int, int]:
    latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # the client's own is bare
    futures = admin.list_offsets({TopicPartition(topic, number): latest for number in range(partitions)})
    try:
        return {place.partition: future.result(30).offset for place, future in futures.items()}
    except KafkaException as refusal:
        if refusal.args[0].code() in STARTING_CODES:
            return {}
        raise


def wait_all_committed(cluster: ClusterSettings, queue: Queue, within_s: float = DEADLINE_S) -> None:
    """Wait until the group has committed all that the main topic holds."""
    wanted = {number: end for number, end in ends(cluster, queue.topic, queue.partitions).items() if end}
    wait_until(
        lambda: all(committed(cluster, queue).get(number, 0) >= end for number, end in wanted.items()),
        within_s,
        f"the commit of {wanted}",
    )


def read_topic(cluster: ClusterSettings, topic: str, partitions: int) -> list[Message]:
    """All records of a topic, each partition's in order."""
    unread = {number: end for number, end in ends(cluster, topic, partitions).items() if end}
    # By default a fetch at the end of a partition waits half a second for more, before it tells that this is the end.
    options = {"group.id": "reader", "enable.partition.eof": True, "fetch.wait.max.ms": 10}
    consumer = Consumer(cluster.client_config() | options)
    found: list[Message] = []
    give_up_at_s = time.monotonic() + DEADLINE_S
    try:
        consumer.assign([TopicPartition(topic, number, 0) for number in unread])
        while unread:
            assert time.monotonic() < give_up_at_s, f"read {len(found)} records of {topic}; {unread} is missing"
            message = consumer.poll(0.2)  # it waits for one, where `consume` would always wait for many
            if message is None:
                continue
            error = message.error()
            if error is None:
                found.append(message)
            elif error.code() == KafkaError._PARTITION_EOF:
                unread.pop(message.partition() or 0, None)
    finally:
        consumer.close()
    return found


def headers_of(message: Message) -> dict[str, bytes]:
    """A record's headers by name."""
    return dict(message.headers() or [])  # type: ignore[arg-type]  # a consumed message has pairs with bytes


def remembered(cluster: ClusterSettings, queue: Queue) -> set[str]:
    """The names that the ledger's topic holds, of completed jobs and of what has moved on."""
    records = read_topic(cluster, queue.ledger_topic, queue.partitions)
    return {name for record in records for name in names_of(bytes(record.key() or b""), bytes(record.value() or b""))}


def dead_letters(cluster: ClusterSettings, queue: Queue) -> list[Message]:
    """What stands in the queue's dead-letter topic."""
    return read_topic(cluster, queue.dead_topic, queue.partitions)


def wait_dead(cluster: ClusterSettings, queue: Queue, count: int, within_s: float = DEADLINE_S) -> list[Message]:
    """Wait for so many dead letters."""
    wait_until(
        lambda: sum(ends(cluster, queue.dead_topic, queue.partitions).values()) >= count,
        within_s,
        f"{count} dead letters",
    )
    return dead_letters(cluster, queue)


@dataclass(frozen=True, slots=True, kw_only=True)
class Raw:
    """A record as a plain Kafka client publishes it."""

    value: bytes | None
    headers: list[tuple[str, bytes | None]]
    key: bytes | None = None
    partition: int = 0


def publish_raw(
    cluster: ClusterSettings,
    topic: str,
    records: Iterable[Raw],
    options: Mapping[str, object] = MappingProxyType({}),
) -> None:
    """Publish records with nothing but a Kafka client of these options, and wait for their confirmation."""
    errors: list[KafkaError] = []

    def note(error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            errors.append(error)

    own = {"message.max.bytes": 16_000_000, "enable.idempotence": True, **options}
    producer = Producer(cluster.client_config() | own)
    for record in records:
        producer.produce(
            topic,
            value=record.value,
            key=record.key,
            headers=record.headers,  # type: ignore[arg-type]  # the stub's list is invariant
            partition=record.partition,
            on_delivery=note,
        )
    assert producer.flush(60) == 0
    assert not errors


def delete_topics(cluster: ClusterSettings, *topics: str) -> None:
    """Delete topics, and wait until the brokers have forgotten them."""
    admin = AdminClient(cluster.client_config())
    for future in admin.delete_topics(list(topics)).values():
        future.result(30)
    wait_until(lambda: not set(topics) & set(admin.list_topics(timeout=10).topics), what=f"{topics} to be gone")


def in_threads(count: int, work: Callable[[int], None]) -> list[threading.Thread]:
    """Start `work(number)` in threads of their own."""
    started = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for thread in started:
        thread.start()
    return started
