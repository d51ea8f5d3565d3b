"""On real brokers: whatever becomes of the events' topic, jobs are settled, and the worker leaves, as ever."""

from __future__ import annotations

import json
import logging
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # the package re-exports them without saying so
    AdminClient,
    NewTopic,
)

from stoker.consumers import log_keys
from stoker.operations.broker.embedded import EmbeddedBroker
from stoker.operations.broker.settings import HOST, choose_ports
from stoker.operations.doctor.checks import examine
from stoker.operations.doctor.findings import Verdict
from stoker.producers import Producer
from stoker.topology import ClusterSettings, Pipeline
from stoker.topology.declaration.topics import EVENTS_PARTITIONS, pipeline_topics
from support.scenes.worker import Journal, RunningWorker, create, declare_queue, delete_topics, running_worker
from support.waiting import wait_until

SOON_S = 20.0
"""A tenth of it is usual; an event that is waited for takes 30 s."""


@pytest.fixture
def second_node(broker: EmbeddedBroker, tmp_path: Path) -> Iterator[EmbeddedBroker]:
    """Another broker of the same cluster, to be started; the first one is its controller, and runs."""
    broker.start()
    ports, folder = choose_ports(random.SystemRandom()), tmp_path / "second"
    controller = json.loads((broker.folder / "ports.json").read_text(encoding="utf-8"))["controller"]
    cluster_line = (broker.folder / "data" / "meta.properties").read_text(encoding="utf-8").split("cluster.id=")[1]
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "meta.properties").write_text(
        f"version=1\nnode.id=2\ncluster.id={cluster_line.splitlines()[0]}\n", encoding="utf-8"
    )
    (folder / "ports.json").write_text(
        json.dumps({"broker": ports.broker, "controller": ports.controller}), encoding="utf-8"
    )
    settings = {
        "process.roles": "broker",
        "node.id": "2",
        "controller.quorum.voters": f"1@{HOST}:{controller}",
        "listeners": f"PLAINTEXT://{HOST}:{ports.broker}",
    }
    second = EmbeddedBroker(folder, server_settings=settings)
    yield second
    second.kill()


def fail_and_succeed(
    cluster: ClusterSettings, pipeline: Pipeline, silence: Callable[[RunningWorker], None]
) -> tuple[float, float]:
    """Let jobs fail, succeed and be discarded once events cannot be written; how long that takes, and the end."""
    journal = Journal()

    @pipeline.job(pipeline.find_queue("work"))
    def act(number: int) -> None:
        if journal.note(number).attempt == 1 and number % 2:
            raise ValueError(number)

    with Producer(pipeline, cluster) as producer, running_worker(pipeline, cluster) as running:
        producer.enqueue(act, 0)
        running.wait_outcomes(Done=1)
        silence(running)
        begun_at_s = time.monotonic()
        for number in range(1, 21):
            producer.enqueue(act, number)
        running.wait_outcomes(Done=21, Retried=10)
        settled_s = time.monotonic()
        running.stop()
        return settled_s - begun_at_s, time.monotonic() - settled_s


def test_events_without_a_leader_hold_up_neither_jobs_nor_the_end(
    broker: EmbeddedBroker, second_node: EmbeddedBroker, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    """All partitions of the events' topic are on a broker that died: its client would wait for 30 s."""
    cluster = ClusterSettings(bootstrap_servers=broker.start())
    pipeline, _ = declare_queue(namespace)
    create(pipeline, cluster)
    delete_topics(cluster, pipeline.events_topic)
    second_node.start()
    admin = AdminClient(cluster.client_config())
    # It answers before it may lead, and until then no topic can be made on it.
    wait_until(lambda: 2 in admin.list_topics(timeout=30).brokers, what="the second broker to be let in")
    (spec,) = [spec for spec in pipeline_topics(pipeline) if spec.name == pipeline.events_topic]
    on_the_second = NewTopic(
        spec.name, EVENTS_PARTITIONS, replica_assignment=[[2]] * EVENTS_PARTITIONS, config=dict(spec.configs)
    )
    admin.create_topics([on_the_second])[spec.name].result(30)
    second_node.kill()
    wait_until(lambda: leaders(admin, spec.name) == {-1}, what="the events' topic to have no leader")
    jobs_s, end_s = fail_and_succeed(cluster, pipeline, lambda _: None)
    assert jobs_s < SOON_S
    assert end_s < SOON_S / 2
    check_report(caplog)


def leaders(admin: AdminClient, topic: str) -> set[int]:
    """Who leads the topic's partitions."""
    return {partition.leader for partition in admin.list_topics(topic, timeout=30).topics[topic].partitions.values()}


def test_a_deleted_events_topic_holds_up_neither_jobs_nor_the_end(
    cluster: ClusterSettings, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The client looks for the topic for seconds, and settling does not wait for that."""
    pipeline, _ = declare_queue(namespace)
    create(pipeline, cluster)
    jobs_s, end_s = fail_and_succeed(cluster, pipeline, lambda _: delete_topics(cluster, pipeline.events_topic))
    assert jobs_s < SOON_S
    assert end_s < SOON_S / 2
    check_report(caplog)


def test_workers_and_producers_start_without_the_events_topic(cluster: ClusterSettings, namespace: str) -> None:
    """Somebody has deleted it: nobody hears of the jobs, and they run all the same; the doctor says so."""
    pipeline, _ = declare_queue(namespace)
    create(pipeline, cluster)
    delete_topics(cluster, pipeline.events_topic)
    jobs_s, end_s = fail_and_succeed(cluster, pipeline, lambda _: None)
    assert jobs_s < SOON_S
    assert end_s < SOON_S / 2
    told = [found for found in examine(pipeline, cluster, timeout_s=60.0) if found.verdict is Verdict.BROKEN]
    assert [found.observed.split(":")[0] for found in told] == [f"{pipeline.events_topic} is missing"]


def check_report(caplog: pytest.LogCaptureFixture) -> None:
    """The log tells how many events were given up, and names the jobs of those that are not done."""
    failed = reports(caplog, " could not be written to ")
    done = reports(caplog, "there is no event on")
    assert sum(vars(report)[log_keys.COUNT] for report in failed) == 10
    told = sum(vars(report)[log_keys.COUNT] for report in done)
    assert told in (20, 21)  # the first one may have been written before
    assert all(vars(report)[log_keys.JOB_ID] for report in failed)
    assert not any(log_keys.JOB_ID in vars(report) for report in done)


def reports(caplog: pytest.LogCaptureFixture, text: str) -> list[logging.LogRecord]:
    """What was logged with these words."""
    return [record for record in caplog.records if text in record.getMessage()]
