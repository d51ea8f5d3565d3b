"""Which group protocol a worker takes: what the brokers know, or what the cluster's options ask for."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from stoker.consumers.kafka.group_protocol import BrokerWatch
from stoker.operations.cluster_view import ClusterView
from stoker.producers import Producer
from stoker.topology import ClusterSettings, Queue
from support.scenes.worker import Journal, create, declare_queue, running_worker, wait_all_committed

KAFKA_39 = "kafka:9092/1:   ApiKey ConsumerGroupHeartbeat (68) Versions 0..0"
KAFKA_43 = "kafka:9092/1:   ApiKey ConsumerGroupHeartbeat (68) Versions 0..1"
KAFKA_35 = "kafka:9092/1:  Feature BrokerBalancedConsumer: ConsumerGroupHeartbeat (0..32767) NOT supported by broker"


@pytest.mark.parametrize("ordering", ["key", "strict"])
def test_a_worker_runs_its_jobs_on_kafka_3(
    old_cluster: ClusterSettings, namespace: str, caplog: pytest.LogCaptureFixture, ordering: str
) -> None:
    """On brokers before Kafka 4 a worker soon takes the classic protocol, and runs, repeats and commits its jobs."""
    pipeline, queue = declare_queue(namespace, ordering=ordering)  # type: ignore[arg-type]  # two of its literals
    journal = Journal()

    @pipeline.job(queue)
    def act(number: int) -> None:
        if journal.note(number).attempt == 1 and number == 7:
            raise ValueError(number)

    create(pipeline, old_cluster)
    with running_worker(pipeline, old_cluster) as running, Producer(pipeline, old_cluster) as producer:
        running.wait_partitions(2)
        producer.enqueue_many(act.call(number) for number in range(20))
        journal.wait(21)
        running.wait_outcomes(Done=20)
        wait_all_committed(old_cluster, queue)
        assert protocol_of(old_cluster, queue) == "classic"
    assert caplog.text.count("using the classic one") == 1


def test_the_classic_protocol_can_be_asked_for(
    cluster: ClusterSettings, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    """`group.protocol=classic` holds for the worker also where the brokers know the other one, and is no fallback."""
    asked = replace(cluster, options={**cluster.options, "group.protocol": "classic"})
    pipeline, queue = declare_queue(namespace)
    journal = Journal()

    @pipeline.job(queue)
    def act(number: int) -> None:
        journal.note(number)

    create(pipeline, cluster)
    with running_worker(pipeline, asked) as running, Producer(pipeline, asked) as producer:
        running.wait_partitions(2)
        producer.enqueue(act, 1)
        journal.wait(1)
        assert protocol_of(cluster, queue) == "classic"
    assert not [found for found in caplog.records if found.levelno >= logging.WARNING]


def test_brokers_of_kafka_4_are_joined_by_their_protocol(cluster: ClusterSettings, namespace: str) -> None:
    """Where nothing is asked for and the brokers know it, the worker takes the consumer group protocol of Kafka 4."""
    pipeline, queue = declare_queue(namespace)

    @pipeline.job(queue)
    def act(number: int) -> None:
        """Do nothing with it."""

    create(pipeline, cluster)
    with running_worker(pipeline, cluster) as running:
        running.wait_partitions(2)
        assert protocol_of(cluster, queue) == "consumer"


@pytest.mark.parametrize("first", ["classic", "consumer"])
def test_workers_of_both_protocols_share_a_group(cluster: ClusterSettings, namespace: str, first: str) -> None:
    """While workers are started again after an upgrade to Kafka 4, old and new ones work side by side."""
    pipeline, queue = declare_queue(namespace)
    journal = Journal()

    @pipeline.job(queue)
    def act(number: int) -> None:
        journal.note(number)

    create(pipeline, cluster)
    second = "consumer" if first == "classic" else "classic"
    one, other = (replace(cluster, options={**cluster.options, "group.protocol": name}) for name in (first, second))
    with running_worker(pipeline, one) as former:
        former.wait_partitions(2)
        with running_worker(pipeline, other) as latter, Producer(pipeline, cluster) as producer:
            latter.wait_partitions(1)
            former.wait_partitions(1)
            producer.enqueue_many(act.call(number) for number in range(20))
            journal.wait(20)
            wait_all_committed(cluster, queue)
        former.wait_partitions(2)
    assert sorted(journal.noted) == list(range(20))


@pytest.mark.parametrize(("line", "lacks"), [(KAFKA_35, True), (KAFKA_39, True), (KAFKA_43, False)])
def test_the_watch_reads_what_a_broker_lists(line: str, lacks: bool) -> None:
    """A heartbeat that is not listed, or only in the version of the early trial, cannot be used by librdkafka."""
    watch = BrokerWatch({}, logging.getLogger("stoker.worker"))
    watch.log(logging.DEBUG, "%s [%s] %s", "APIVERSION", "rdkafka#consumer-1", line)
    assert watch.lacks_consumer_protocol is lacks


@pytest.mark.parametrize(
    ("options", "passed"),
    [
        ({}, ["INFO", "WARNING"]),
        ({"log_level": 3}, []),
        ({"log_level": "4"}, ["WARNING"]),
        ({"debug": "broker"}, ["DEBUG", "INFO", "WARNING"]),
    ],
)
def test_the_watch_adds_no_lines_to_the_log(
    options: dict[str, object], passed: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """librdkafka's lines are passed on as the cluster's own options ask for them, not as the watch does."""
    caplog.set_level(logging.DEBUG)
    watch = BrokerWatch(options, logging.getLogger("stoker.worker"))
    for level in (logging.DEBUG, logging.INFO, logging.WARNING):
        watch.log(level, "%s [%s] %s", "BROKER", "rdkafka#consumer-1", "a line")
    assert [found.levelname for found in caplog.records] == passed


def protocol_of(cluster: ClusterSettings, queue: Queue) -> str:
    """By which protocol the queue's group works."""
    return ClusterView(cluster, timeout_s=60.0).groups([queue.group])[queue.group].protocol
