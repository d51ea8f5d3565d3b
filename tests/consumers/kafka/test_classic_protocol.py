"""Brokers that do not know the consumer group protocol of Kafka 4.0."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from stoker.consumers import Worker, WorkerSettings
from stoker.operations.broker.embedded import EmbeddedBroker
from stoker.producers import Producer
from stoker.topology import ClusterSettings, Pipeline
from stoker.topology.planning.apply import ensure_topology


@pytest.fixture
def old_cluster(tmp_path: Path) -> Iterator[ClusterSettings]:
    """A real broker that has the new protocol switched off, and so answers as older ones do."""
    broker = EmbeddedBroker(tmp_path, server_settings={"group.coordinator.rebalance.protocols": "classic"})
    try:
        yield ClusterSettings(bootstrap_servers=broker.start())
    finally:
        broker.stop()


def test_a_worker_falls_back_to_the_classic_protocol(
    old_cluster: ClusterSettings, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the brokers refuse the new group protocol, a worker warns once, and does its jobs with the classic one."""
    pipeline = Pipeline(namespace)
    queue = pipeline.queue("old", partitions=2)
    ran = threading.Event()

    @pipeline.job(queue)
    def touch(number: int) -> None:
        if number == 1:
            ran.set()

    ensure_topology(pipeline, old_cluster)
    worker = Worker(pipeline, old_cluster, WorkerSettings(concurrency=1))
    runner = threading.Thread(target=worker.run)
    runner.start()
    try:
        with Producer(pipeline, old_cluster) as producer:
            producer.enqueue(touch, 1)
        assert ran.wait(30), "the job did not run"
    finally:
        worker.stop()
        runner.join(30)
    assert "using the classic one" in caplog.text
