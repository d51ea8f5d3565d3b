"""Events for statistics, and statistics in a thread of the test's own."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from confluent_kafka import Producer

from stoker.operations.statistics.messages import ProcessSettings
from stoker.operations.statistics.reading import Statistics, read_statistics
from stoker.operations.statistics.supervising import Course, Supervisor
from stoker.schemas import decode_own
from stoker.schemas.own_records.job_events import EventSubject, JobRetried, encode_event
from stoker.schemas.own_records.jobs_ended import JobsEnded, encode_jobs_ended, packed
from stoker.topology import ClusterSettings, Pipeline

CLOCK_S = 1_000.0
AT = datetime(2026, 3, 1, 12, 0, 7, tzinfo=UTC)


def ended(
    runs_s: Sequence[float], at: datetime = AT, *, waits_s: Sequence[float] | None = None, **named: Any
) -> JobsEnded:
    """An event of jobs that have run so long, and had waited so long (1 s each) before."""
    waits = [1.0] * len(runs_s) if waits_s is None else waits_s
    enqueued = [at.timestamp() - run - wait for run, wait in zip(runs_s, waits, strict=True)]
    given: dict[str, Any] = {
        "queue": "mails",
        "worker": "w",
        "release": "",
        "at": at,
        "clock_s": CLOCK_S,
        "count": len(runs_s),
        "binary_ids": b"".join(id_of(instant) for instant in enqueued),
        "types": ["send"],
        "topic": "shop.mails",
        "partitions": packed("i", [0] * len(runs_s)),
        "offsets": packed("q", range(len(runs_s))),
        "began_s": packed("d", [CLOCK_S - run for run in runs_s]),
        "ended_s": packed("d", [CLOCK_S] * len(runs_s)),
    }
    return JobsEnded(**{**given, **named})


def id_of(enqueued_s: float) -> bytes:
    """An id, as 16 bytes, that tells when its job was enqueued."""
    number = round(enqueued_s * 1e3) << 80 | 7 << 76 | 2 << 62 | uuid.uuid4().int >> 66
    return number.to_bytes(16, "big")


def retried(at: datetime = AT, *, fingerprint: str = "f1", **named: Any) -> JobRetried:
    """The event of a run of 2 s that has failed, of a job that had waited for 3 s."""
    subject: dict[str, Any] = {"job_id": "j", "job_type": "send", "queue": "mails", "topic": "shop.mails", "attempt": 1}
    subject["enqueued"] = at - timedelta(seconds=5)
    return JobRetried(
        subject=EventSubject(**{**subject, **named}),
        at=at,
        worker="w",
        message="card declined",
        error_type="Declined",
        fingerprint=fingerprint,
        began=at - timedelta(seconds=2),
    )


def retried_datum(**named: Any) -> dict[str, Any]:
    """That event as a reader has it."""
    return decode_own("JobEvent", encode_event(retried(**named)))


def publish_ended(cluster: ClusterSettings, pipeline: Pipeline, jobs: Iterable[int]) -> None:
    """Publish an event of so many jobs each, of now, over all partitions."""
    producer = Producer(cluster.client_config())
    for number, count in enumerate(jobs):
        event = ended([0.02] * count, datetime.now(UTC))
        producer.produce(pipeline.events_topic, encode_jobs_ended(event), partition=number % 4)
    assert producer.flush(30) == 0


@contextmanager
def publishing(cluster: ClusterSettings, pipeline: Pipeline) -> Iterator[list[int]]:
    """Publish events of three jobs each all the time; at its end, the list has how many jobs each turn had."""
    ending, published = threading.Event(), list[int]()

    def publish() -> None:
        while not ending.wait(0.03):
            publish_ended(cluster, pipeline, [3] * 4)
            published.append(12)

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        yield published
    finally:
        ending.set()
        thread.join(60)


class Counting:
    """Statistics of a pipeline that are kept in a thread."""

    def __init__(self, cluster: ClusterSettings, pipeline: Pipeline, member: str, stall_s: float) -> None:
        settings = ProcessSettings(
            bootstrap_servers=cluster.bootstrap_servers,
            options=cluster.options,
            events=pipeline.events_topic,
            stats=pipeline.stats_topic,
            stats_partitions=4,
            group=pipeline.stats_topic,
            member=member,
        )
        self.supervisor = Supervisor(settings, stall_s=stall_s)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self.supervisor.run, args=(self._ending.wait, lambda _course: None))
        self._thread.start()

    @property
    def course(self) -> Course:
        """How it goes."""
        return self.supervisor.course

    def process_id(self) -> int:
        """Of its Faust process."""
        found = self.supervisor.process_id
        assert found is not None
        return found

    def end(self) -> None:
        """End it as SIGTERM does."""
        self._ending.set()
        self._thread.join(30)
        assert not self._thread.is_alive()


@contextmanager
def counting(
    cluster: ClusterSettings, pipeline: Pipeline, member: str = "a", stall_s: float = 15.0
) -> Iterator[Counting]:
    """Statistics that end with the block."""
    made = Counting(cluster, pipeline, member, stall_s)
    try:
        yield made
    finally:
        made.end()


def read(cluster: ClusterSettings, pipeline: Pipeline) -> Statistics:
    """The figures of the last hour."""
    return read_statistics(pipeline, cluster, timedelta(hours=1))


def counts(cluster: ClusterSettings, pipeline: Pipeline) -> dict[str, int]:
    """{outcome: how many} of all types."""
    found: dict[str, int] = {}
    for one in read(cluster, pipeline).types:
        for kind, count in one.tally.counts.items():
            found[kind] = found.get(kind, 0) + count
    return found
