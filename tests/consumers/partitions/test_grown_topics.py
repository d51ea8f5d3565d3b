"""Topics that grow, or are made anew, under a worker: its jobs are settled soon, or do not start."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # the package re-exports them without saying so
    AdminClient,
    NewPartitions,
)

from stoker.consumers.partitions.counterparts import missing_among
from stoker.topology import ClusterSettings, Pipeline, Queue, RetryPolicy
from stoker.topology.planning.apply import ensure_topology
from stoker.topology.planning.findings import Allowed
from support.scenes.worker import (
    Journal,
    Raw,
    create,
    declare_queue,
    delete_topics,
    publish_raw,
    running_worker,
    wait_all_committed,
)
from support.waiting import wait_until

SOON_S = 30.0
"""Clients of a worker look at their topics every 5 to 10 s, and then the jobs and their retries run: on a busy machine
that takes longer than 10 s. A client that only looks by itself does so after 300 s, which this rules out."""
FAILS, DIES = 1_000, 2_000
"""Jobs from this number on fail once, or for good."""


@dataclass
class Scene:
    """One queue whose partitions grow, and the numbers of its jobs by partition."""

    cluster: ClusterSettings
    namespace: str
    journal: Journal = field(default_factory=Journal)

    def declare(self, partitions: int) -> tuple[Pipeline, Queue]:
        """The queue with so many partitions, and a job type whose numbers say how it ends."""
        tiers = (timedelta(milliseconds=300),)
        pipeline, queue = declare_queue(self.namespace, partitions=partitions, tiers=tiers)

        @pipeline.job(queue, retry=RetryPolicy(attempts=2))
        def act(number: int) -> None:
            attempt = self.journal.note(number).attempt
            if number >= DIES or (number >= FAILS and attempt == 1):
                raise ValueError(number)

        return pipeline, queue

    def enqueue(self, pipeline: Pipeline, *partitions: int) -> None:
        """Publish the three jobs of each of these partitions, as a client of another language does."""
        (queue,), contract = pipeline.queues.values(), pipeline.job_types["act"].contract
        records = [
            Raw(
                value=contract.header + contract.encode(contract.payload((number,), {})),
                headers=[("ce_id", str(number).encode()), ("ce_type", b"act")],
                partition=partition,
            )
            for partition in partitions
            for number in numbers_of(partition)
        ]
        publish_raw(self.cluster, queue.topic, records)


def numbers_of(partition: int) -> list[int]:
    """The jobs of one partition: one that is done, one that is repeated, and one that ends in the dead letters."""
    return [partition, FAILS + partition, DIES + partition]


@pytest.mark.parametrize("protocol", ["consumer", "classic"])
def test_outcomes_of_new_partitions_are_written_soon(
    cluster: ClusterSettings, namespace: str, protocol: str, caplog: pytest.LogCaptureFixture
) -> None:
    """After `topology apply --allow-repartition` under a worker, jobs of new partitions are settled soon."""
    scene = Scene(replace(cluster, options={**cluster.options, "group.protocol": protocol}), namespace)
    pipeline, queue = scene.declare(2)
    grown, grown_queue = scene.declare(4)
    create(pipeline, cluster)
    with running_worker(pipeline, scene.cluster) as running:
        scene.enqueue(pipeline, 0, 1)
        running.wait_outcomes(Done=4, Retried=4, Dead=2)
        ensure_topology(grown, cluster, Allowed(repartition=frozenset({queue.name})))
        began_at_s = time.monotonic()
        scene.enqueue(grown, 2, 3)
        running.wait_outcomes(Done=8, Retried=8, Dead=4)
        assert time.monotonic() - began_at_s < SOON_S
        wait_all_committed(cluster, grown_queue)
    assert not [found for found in caplog.records if found.levelno >= logging.ERROR]


@pytest.mark.expected_errors("do not start")
def test_jobs_whose_outcomes_could_not_be_written_do_not_start(
    cluster: ClusterSettings, namespace: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where only the main topic grows, its new partitions rest, one message names topic and command, others go on."""
    monkeypatch.setattr("stoker.consumers.partitions.restore_thread.LOUD_AFTER_S", 0.5)
    scene = Scene(cluster, namespace)
    pipeline, queue = scene.declare(2)
    grown, _ = scene.declare(4)
    create(pipeline, cluster)
    with running_worker(pipeline, cluster) as running:
        running.wait_partitions(2)
        grow(cluster, queue.topic, 4)
        running.wait_partitions(4)
        scene.enqueue(pipeline, 2, 3, 0)
        running.wait_outcomes(Done=2, Retried=2, Dead=1)
        wait_until(lambda: told(caplog, "do not start"), 60, "a message")
        assert set(scene.journal.noted) == set(numbers_of(0))
        ensure_topology(grown, cluster)
        began_at_s = time.monotonic()
        running.wait_outcomes(Done=6, Retried=6, Dead=3)
        assert time.monotonic() - began_at_s < SOON_S
    (message,) = told(caplog, "do not start")
    for part in (
        f"jobs of {queue.topic}, partitions 2, 3,",
        f"{queue.ledger_topic} has 2",
        "partitions=4",
        "topology apply",
    ):
        assert part in message
    assert len(told(caplog, "could be restored")) == 1


@pytest.mark.expected_errors("cannot be written", "have not confirmed")
def test_outcomes_are_written_soon_to_topics_made_anew(cluster: ClusterSettings, namespace: str) -> None:
    """Ledger, tier and dead letters that were deleted and applied again take outcomes in 10 s, without a restart."""
    scene = Scene(cluster, namespace)
    pipeline, queue = scene.declare(2)
    create(pipeline, cluster)
    with running_worker(pipeline, cluster) as running:
        scene.enqueue(pipeline, 0)
        running.wait_outcomes(Done=2, Retried=2, Dead=1)
        delete_topics(cluster, queue.ledger_topic, queue.dead_topic, *queue.waiting_topics)
        scene.enqueue(pipeline, 1)
        wait_until(lambda: len(scene.journal.runs) >= 8, 60, "the jobs to have run")
        ensure_topology(pipeline, cluster)
        began_at_s = time.monotonic()
        running.wait_outcomes(Done=4, Retried=4, Dead=2)
        assert time.monotonic() - began_at_s < SOON_S


@pytest.mark.parametrize(
    ("declared", "main", "command"),
    [
        (2, 4, "declare partitions=4 for queue 'work' and run `stoker topology apply`"),
        (4, 4, "`stoker topology apply` fixes it"),
        (6, 4, "`stoker topology apply --allow-repartition work` fixes it"),
    ],
)
def test_the_message_names_the_command_that_mends_it(declared: int, main: int, command: str) -> None:
    """What fixes too few partitions depends on what is declared and on what the main topic has."""
    _, queue = declare_queue("grown", partitions=declared)
    counts = {queue.topic: main, queue.ledger_topic: 2, queue.dead_topic: main}
    missing = missing_among(queue, counts, range(main))
    assert missing is not None
    assert missing.partitions == {2, 3}
    assert missing.others == {queue.ledger_topic: 2}
    assert command in str(missing)


def test_what_the_brokers_do_not_show_holds_nothing_up() -> None:
    """A topic that may not be described is left to whoever writes to it; one that is gone has no partition."""
    _, queue = declare_queue("hidden", partitions=2)
    assert missing_among(queue, {queue.topic: 2, queue.dead_topic: 2}, [0, 1]) is None
    assert missing_among(queue, {queue.topic: 2, queue.ledger_topic: 0}, [0]) is not None


def grow(cluster: ClusterSettings, topic: str, partitions: int) -> None:
    """Give one topic more partitions, as an administrator does who knows nothing of the others."""
    admin = AdminClient(cluster.client_config())
    for future in admin.create_partitions([NewPartitions(topic, partitions)]).values():
        future.result(30)


def told(caplog: pytest.LogCaptureFixture, part: str) -> list[str]:
    """The messages of the worker's log that hold this."""
    return [message for found in list(caplog.records) if part in (message := found.getMessage())]
