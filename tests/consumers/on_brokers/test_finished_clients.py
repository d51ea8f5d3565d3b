"""A client of a worker may fail for good: another one takes its place, and the worker goes on."""

from __future__ import annotations

from datetime import timedelta

import pytest
from confluent_kafka import OFFSET_END

from stoker.producers import Producer
from stoker.producers.control import Control
from stoker.producers.control.log_reader import LogReader
from stoker.topology import ClusterSettings, Pipeline
from stoker.topology.declaration.topics import EVENTS_PARTITIONS
from support.kafka.finished_clients import fail_for_good
from support.scenes.worker import Raw, create, declare_queue, publish_raw, read_topic, running_worker
from support.waiting import wait_until

WAIT = timedelta(seconds=60)


@pytest.mark.expected_errors("test_fatal_error: a test wants it")
@pytest.mark.parametrize("client", ["-status", "-control"])
def test_a_worker_takes_and_answers_orders_though_a_client_of_its_own_has_failed_for_good(
    cluster: ClusterSettings, namespace: str, client: str
) -> None:
    """One writes its status, the other one reads the orders."""
    pipeline, _queue = declare_queue(namespace, partitions=1)
    create(pipeline, cluster)
    with Control(pipeline, cluster) as control, running_worker(pipeline, cluster) as running:
        assert control.pause(queue="work").wait(WAIT).is_taken_by_all
        writer = running.worker._control._writer._producer
        first = writer._client
        assert fail_for_good(running.worker.settings.worker_id + client) == 1
        if client == "-status":  # it takes the brokers' answers ten times a second, and writes more rarely
            wait_until(lambda: writer._client is not first or running.failure, what="the control thread to notice")
        assert control.resume(queue="work").wait(WAIT).is_taken_by_all
        assert control.pause(queue="work").wait(WAIT).is_taken_by_all
        assert running.failure is None


@pytest.mark.expected_errors("test_fatal_error: a test wants it")
def test_the_events_of_jobs_go_on_though_their_client_has_failed_for_good(
    cluster: ClusterSettings, namespace: str
) -> None:
    """The one or other event is given up, which is counted; those after it are published."""
    pipeline, queue = declare_queue(namespace, partitions=1)

    @pipeline.job(queue)
    def act() -> None:
        """Do nothing."""

    create(pipeline, cluster)
    with Producer(pipeline, cluster) as producer, running_worker(pipeline, cluster) as running:
        producer.enqueue(act)
        before = wait_until(lambda: events(pipeline, cluster), what="the first event")
        assert fail_for_good("-events") == 1

        def are_more() -> bool:
            assert running.failure is None
            producer.enqueue(act)
            return events(pipeline, cluster) > before

        wait_until(are_more, what="events of another client")


def events(pipeline: Pipeline, cluster: ClusterSettings) -> int:
    """How many there are."""
    return len(read_topic(cluster, pipeline.events_topic, EVENTS_PARTITIONS))


@pytest.mark.expected_errors("test_fatal_error: a test wants it")
@pytest.mark.parametrize("has_read", [True, False])
def test_a_reader_goes_on_where_its_client_was_that_failed_for_good(
    cluster: ClusterSettings, namespace: str, *, has_read: bool
) -> None:
    """It misses nothing, and reads nothing twice; also where it was to read what is new alone, and had nothing yet."""
    pipeline, queue = declare_queue(namespace, partitions=1)
    create(pipeline, cluster)
    publish_raw(cluster, queue.topic, [Raw(value=b"before", headers=[])])
    reader = LogReader(cluster, queue.topic, client_id=f"{namespace}-reader", options={"fetch.wait.max.ms": 10})
    found: list[bytes] = []

    def read_on() -> bool:
        found.extend(message.value() or b"" for message in reader.read(0.1))
        return reader.is_at_end

    reader.start() if has_read else reader.start(OFFSET_END)
    wait_until(read_on, what="the end of the topic")
    assert found == ([b"before"] if has_read else [])
    assert fail_for_good(f"{namespace}-reader") == 1
    wait_until(lambda: read_on() and reader.trouble is None and not reader._is_finished, what="another client")
    publish_raw(cluster, queue.topic, [Raw(value=b"after", headers=[])])
    wait_until(lambda: read_on() and b"after" in found, what="what is new")
    assert found == ([b"before", b"after"] if has_read else [b"after"])
    reader.close()
