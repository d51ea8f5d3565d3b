"""On a real broker: jobs that wait for longer than their topics keep records are neither lost nor out of order (P12).

Stoker's part is played with a retention of four seconds. The brokers' part, to delete what is too old, is played by the
test: so it comes at the worst moment, as soon as records may go, and no slow machine makes it come before.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from stoker.producers import Producer
from stoker.topology import ClusterSettings
from stoker.topology.declaration.delays import DelayClass
from stoker.topology.declaration.queue import Ordering
from stoker.topology.wire import headers as wire
from support.kafka.configs import change_configs
from support.program import TESTS, program
from support.programs.carrying_worker import PAUSED, declare
from support.scenes.worker import (
    Raw,
    committed,
    create,
    ends,
    headers_of,
    publish_raw,
    read_topic,
    wait_all_committed,
)
from support.waiting import wait_until

DEADLINE_S = 90.0
MAILS, CALLS, KEYS, NAMELESS = 120, 40, 10, 3
NUMBER = "x-number"


@dataclass
class Ground:
    """A queue with jobs that wait, and worker processes to kill."""

    cluster: ClusterSettings
    namespace: str
    ordering: Ordering
    folder: Path

    def __post_init__(self) -> None:
        """Paused mails of ten keys, some without a name, and calls of one key whose first one runs for ever."""
        self.runs, self.release = self.folder / "runs", self.folder / "release"
        self.runs.touch()
        pipeline, self.queue, mail, call, self.nap = declare(self.namespace, self.ordering, self.runs, self.release)
        self.pipeline = pipeline
        create(self.pipeline, self.cluster)
        kept = {topic: {"retention.ms": "-1"} for topic in self.queue.job_topics}
        change_configs(self.cluster, kept)
        with Producer(self.pipeline, self.cluster) as producer:
            for number in range(CALLS):
                producer.enqueue(call.with_options(job_id=f"call-{number}", key="held"), number)
            for number in range(MAILS):
                producer.enqueue(mail.with_options(job_id=f"mail-{number}", key=f"m{number % KEYS}"), number)
        publish_raw(self.cluster, self.queue.topic, map(self._nameless, range(NAMELESS)))

    @staticmethod
    def _nameless(number: int) -> Raw:
        """A mail that has neither key nor id."""
        own: tuple[str, bytes | None] = (NUMBER, b"nameless-%d" % number)
        headers: list[tuple[str, bytes | None]] = [(wire.SPEC_VERSION, b"1.0"), (wire.JOB_TYPE, PAUSED.encode()), own]
        return Raw(value=b"", headers=headers, partition=number % 2)

    @property
    def lines(self) -> list[str]:
        """What ran, in order."""
        return self.runs.read_text().splitlines()

    @contextmanager
    def worker(self) -> Iterator[None]:
        """A process that is killed in the end."""
        where = self.cluster.bootstrap_servers, self.namespace, self.ordering, str(self.runs), str(self.release)
        process = subprocess.Popen([*program("carrying_worker"), *where], cwd=TESTS, stderr=subprocess.DEVNULL)
        try:
            yield
        finally:
            process.kill()
            process.wait()

    def carried(self, from_topic: str) -> set[str]:
        """The jobs of which copies were made of records of a topic."""
        copies = [headers_of(message) for message in read_topic(self.cluster, self.queue.carried_topic, 2)]
        return {
            headers.get(wire.JOB_ID, headers.get(NUMBER, b"")).decode()
            for headers in copies
            if headers[wire.CARRIED].decode().rsplit("/", 2)[0] == from_topic
        }

    def dead(self) -> set[str]:
        """The jobs in the dead letters."""
        dead = read_topic(self.cluster, self.queue.dead_topic, 2)
        return {headers_of(message)[NUMBER].decode() for message in dead}

    def wait_end(self) -> None:
        """Wait for the end of all, while a worker is there: copies end later than the records of the main topic."""
        wait_until(lambda: len(self.lines) >= MAILS + CALLS, DEADLINE_S, "all to run")
        wait_until(lambda: self.dead() == NAMES, DEADLINE_S, "the dead letters")
        wait_all_committed(self.cluster, self.queue, DEADLINE_S)

    def delete(self, topic: str, before: Sequence[int]) -> None:
        """Do what the brokers do to old records."""
        places = [TopicPartition(topic, partition, offset) for partition, offset in enumerate(before)]
        client = AdminClient(self.cluster.client_config())
        for answer in client.delete_records(places).values():
            answer.result(30)

    def ends_of(self, topic: str) -> list[int]:
        """Where its partitions end."""
        found = ends(self.cluster, topic, 2)
        return [found[partition] for partition in range(2)]

    def is_committed(self, topic: str, before: Sequence[int]) -> bool:
        """Whether the group needs no record before these offsets any more."""
        found = committed(self.cluster, self.queue, topic)
        return all(found.get(partition, 0) >= offset for partition, offset in enumerate(before))

    def let_one_sleep(self) -> None:
        """A job that sleeps for longer than its topic keeps records."""
        with Producer(self.pipeline, self.cluster) as producer:
            producer.enqueue(self.nap.with_options(key="sleepy"), 0)

    def delete_all_but_the_last(self, topic: str, least: int) -> None:
        """Do so once a topic has so many records, all in one partition."""
        wait_until(lambda: max(self.ends_of(topic)) >= least, DEADLINE_S, f"{least} records on {topic}")
        self.delete(topic, [max(0, end - 1) for end in self.ends_of(topic)])


NAMES = {f"nameless-{number}" for number in range(NAMELESS)}
WAITING = {
    *(f"mail-{number}" for number in range(MAILS)),
    *(f"call-{number}" for number in range(1, CALLS)),
    *NAMES,
}


def check_end(ground: Ground) -> None:
    """All ran once, each key in its order; what cannot run for want of a name is a dead letter."""
    lines = ground.lines
    assert ground.dead() == NAMES
    mails = [int(line.split()[1]) for line in lines if line.startswith("mail")]
    calls = [int(line.split()[1]) for line in lines if line.startswith("call")]
    assert calls == list(range(CALLS))
    assert sorted(mails) == list(range(MAILS))
    for key in range(KEYS):
        assert [number for number in mails if number % KEYS == key] == list(range(key, MAILS, KEYS))


@pytest.mark.timeout(240)
@pytest.mark.parametrize("ordering", ["key", "strict"])
def test_jobs_outlast_the_retention_of_their_topics(
    cluster: ClusterSettings, namespace: str, tmp_path: Path, ordering: Ordering
) -> None:
    """Behind a job that is stuck, and under a pause, they are carried forward twice; a delayed one is written again."""
    ground = Ground(cluster, namespace, ordering, tmp_path)
    queue = ground.queue
    ground.let_one_sleep()
    with ground.worker():
        wait_until(lambda: ground.carried(queue.topic) >= WAITING, DEADLINE_S, "all to be carried")
        wait_until(lambda: ground.lines == ["asleep 0"], DEADLINE_S, "the sleeper")
        ground.delete(queue.topic, ground.ends_of(queue.topic))
        ground.delete_all_but_the_last(queue.delay_topics[DelayClass.SHORT], 2)
        first = ground.ends_of(queue.carried_topic)
        wait_until(lambda: ground.is_committed(queue.carried_topic, first), DEADLINE_S, "all to be carried again")
        ground.delete(queue.carried_topic, first)
        assert not [line for line in ground.lines if line.startswith(("mail", "call"))]
        wait_until(lambda: "nap 0" in ground.lines, DEADLINE_S, "the sleeper to wake")
        ground.release.touch()
        wait_until(lambda: len(ground.lines) >= MAILS + CALLS + 2, DEADLINE_S, "all to run")
        ground.wait_end()
    check_end(ground)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("ordering", ["key", "strict"])
def test_jobs_that_are_carried_outlast_kills(
    cluster: ClusterSettings, namespace: str, tmp_path: Path, ordering: Ordering
) -> None:
    """A worker is killed amid its copies, and the next one amid those of the copies; a third one runs all."""
    ground = Ground(cluster, namespace, ordering, tmp_path)
    queue = ground.queue
    with ground.worker():
        wait_until(lambda: ground.carried(queue.topic), DEADLINE_S, "the first to be carried")
    with ground.worker():
        wait_until(lambda: ground.carried(queue.topic) >= WAITING, DEADLINE_S, "all to be carried")
        wait_until(lambda: ground.carried(queue.carried_topic), DEADLINE_S, "the first to be carried again")
    with ground.worker():
        ground.release.touch()
        ground.wait_end()
    check_end(ground)
