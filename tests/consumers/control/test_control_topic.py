"""On a real broker: orders of a newer version, a control topic that is created again, and brokers that go away."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from confluent_kafka import Producer as PlainProducer

from stoker.consumers.control import control_thread
from stoker.consumers.records.record import Record
from stoker.consumers.steps import pipe
from stoker.consumers.steps.steps import DecodedJob, StepContext, decode
from stoker.operations.broker.embedded import EmbeddedBroker
from stoker.producers import Producer
from stoker.producers.control import Control, OrderUnconfirmed
from stoker.producers.control.standing import (
    STANDING,
    OrderBook,
    read_given_orders,
    read_standing_orders,
    read_workers,
)
from stoker.producers.transaction_writer import TransactionRecord, TransactionWriter
from stoker.schemas.own_records.control_records import ControlOrder, RecordPlace
from stoker.topology import ClusterSettings, Pipeline
from stoker.topology.cluster.admin import Administration
from stoker.topology.declaration.topics import pipeline_topics
from support.scenes.worker import Gate, Journal, create, declare_queue, running_worker
from support.waiting import wait_until

WAIT = timedelta(seconds=60)


def declare(namespace: str, journal: Journal) -> Pipeline:
    """One job type on one queue."""
    pipeline, queue = declare_queue(namespace, partitions=1)

    @pipeline.job(queue)
    def mail(number: int) -> None:
        journal.note(number)

    return pipeline


def publish(cluster: ClusterSettings, topic: str, key: bytes, value: bytes | None) -> None:
    """Write a record as another program would."""
    producer = PlainProducer(cluster.client_config())
    producer.produce(topic, value, key, 0)
    assert producer.flush(30) == 0


def test_an_order_of_a_newer_version_is_answered_as_not_understood(cluster: ClusterSettings, namespace: str) -> None:
    """The worker goes on and takes the next ones; once that order is lifted, all is well."""
    pipeline = declare(namespace, Journal())
    create(pipeline, cluster)
    at = datetime.now(UTC)
    newer = ControlOrder(order_id="newer", verb="dance", operator="ann", host="web-1", at=at)
    with Control(pipeline, cluster) as control, running_worker(pipeline, cluster) as running:
        running.wait_partitions(1)
        receipt = control.give(newer)
        answers = receipt.wait(WAIT)
        (answer,) = answers.missing
        assert (answer.is_taken, answer.is_understood, answers.is_taken_by_all) == (True, False, False)
        assert control.pause(queue="work").wait(WAIT).is_taken_by_all
        (seen,) = read_workers(pipeline, cluster).statuses
        assert (seen.status.not_understood, seen.status.not_understood_ids) == (1, ("newer",))
        publish(cluster, pipeline.control_topic, b"dance/all", None)
        wait_until(lambda: read_workers(pipeline, cluster).statuses[0].status.not_understood == 0, what="the lifting")


def test_a_job_past_the_gates_does_not_begin_once_its_pause_is_answered(
    cluster: ClusterSettings, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its runner is stopped there until the sender has the answer; the job runs after the resume, as attempt 1."""
    journal, between = Journal(), Gate()

    def decode_slowly(record: Record, step_context: StepContext) -> DecodedJob | object:
        between.wait()
        return decode(record, step_context)

    monkeypatch.setattr(pipe, "decode", decode_slowly)
    pipeline = declare(namespace, journal)
    create(pipeline, cluster)
    with Control(pipeline, cluster) as control, running_worker(pipeline, cluster) as running:
        with Producer(pipeline, cluster) as producer:
            producer.enqueue(pipeline.job_types["mail"], 1)
        wait_until(lambda: between.waiting == 1, what="the runner between gates and slot")
        assert control.pause(queue="work").wait(WAIT).is_taken_by_all
        between.open()
        wait_until(lambda: sum(held.count for held in running.worker.inspect()[0].held) == 1, what="the job to wait")
        assert journal.runs == []
        control.resume(queue="work")
        journal.wait(1)
        assert [run.attempt for run in journal.runs] == [1]


def test_what_a_topic_that_was_made_anew_does_not_hold_is_lifted(
    cluster: ClusterSettings, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker notices by itself, and takes orders from the new one."""
    monkeypatch.setattr(control_thread, "STATUS_INTERVAL_S", 0.5)
    pipeline = declare(namespace, Journal())
    create(pipeline, cluster)
    administration = Administration(cluster)
    (spec,) = [spec for spec in pipeline_topics(pipeline) if spec.name == pipeline.control_topic]
    with running_worker(pipeline, cluster) as running:
        running.wait_partitions(1)
        with Control(pipeline, cluster) as control:
            for _ in range(3):
                assert control.pause(queue="work").wait(WAIT).is_taken_by_all
        assert not administration.delete([spec.name])
        wait_until(lambda: not administration.topics([spec.name]), what="the topic to be gone")
        wait_until(lambda: not administration.create([spec]), what="the topic to be there again")
        wait_until(lambda: not running.worker.pauses(), 90, "the pause to be gone")
        with Control(pipeline, cluster) as control:
            control.pause(job_type="mail").wait(WAIT)
        assert [pause.job_type for pause in running.worker.pauses()] == ["mail"]


@pytest.mark.expected_errors("the brokers", "lost Kafka")
def test_a_worker_that_loses_the_brokers_keeps_its_orders_and_says_how_old_they_are(
    broker: EmbeddedBroker, namespace: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When they are back it takes what was ordered since."""
    monkeypatch.setattr(control_thread, "STALE_AFTER_S", 2.0)
    cluster = ClusterSettings(bootstrap_servers=broker.start())
    pipeline = declare(namespace, Journal())
    create(pipeline, cluster)
    with running_worker(pipeline, cluster) as running, Control(pipeline, cluster) as control:
        running.wait_partitions(1)
        assert control.pause(queue="work").wait(WAIT).is_taken_by_all
        broker.stop()
        wait_until(lambda: "goes on with the orders that it knows" in caplog.text, 60, "the log")
        assert [pause.state for pause in running.worker.pauses()] == ["paused"]
        broker.start()
        wait_until(lambda: "reads the control topic again" in caplog.text, 60, "the log")
        with Control(pipeline, cluster) as later:
            assert later.resume(queue="work").wait(WAIT).is_taken_by_all
        assert running.worker.pauses() == []


def test_an_order_stands_with_its_trace_or_not_at_all(
    cluster: ClusterSettings, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the transaction cannot be committed, neither topic shows it; the next order goes through."""
    pipeline = declare(namespace, Journal())
    create(pipeline, cluster)

    def fail(self: TransactionWriter, producer: PlainProducer, records: list[TransactionRecord]) -> list[RecordPlace]:
        real(self, producer, records)
        raise TimeoutError("the network is gone")

    real = TransactionWriter._produce
    with Control(pipeline, cluster) as control:
        monkeypatch.setattr(TransactionWriter, "_produce", fail)
        with pytest.raises(OrderUnconfirmed, match="the network is gone") as failed:
            control.pause(queue="work")
        assert not failed.value.is_perhaps_ordered
        monkeypatch.setattr(TransactionWriter, "_produce", real)
        assert read_standing_orders(pipeline, cluster) == []
        assert list(read_given_orders(pipeline, cluster)) == []
        receipt = control.pause(queue="work")
        assert read_standing_orders(pipeline, cluster) == [receipt.order]
        (given,) = read_given_orders(pipeline, cluster)
        assert (given.order, given.offset) == (receipt.order, receipt.offset)


def test_an_order_is_seen_as_soon_as_it_is_confirmed(cluster: ClusterSettings, namespace: str) -> None:
    """By who looks next, as the next command of its operator does, also over a connection that is there already."""
    pipeline = declare(namespace, Journal())
    create(pipeline, cluster)
    standing = OrderBook(pipeline, cluster, STANDING)
    with Control(pipeline, cluster) as control:
        for number in range(20):
            order = control.pause(queue="work", key=f"k{number}").order
            assert standing.read()[-1] == order
    standing.close()


def test_several_operators_at_once_do_not_shut_each_other_out(cluster: ClusterSettings, namespace: str) -> None:
    """Each has a transaction of its own, open between the others' orders."""
    pipeline = declare(namespace, Journal())
    create(pipeline, cluster)
    with Control(pipeline, cluster, operator="ann") as ann, Control(pipeline, cluster, operator="bob") as bob:
        for number in range(3):
            ann.pause(queue="work", key=f"a{number}")
            bob.pause(queue="work", key=f"b{number}")
    assert [one.operator for one in read_standing_orders(pipeline, cluster)] == ["ann", "bob"] * 3


def test_what_is_no_record_of_control_is_passed_over(cluster: ClusterSettings, namespace: str) -> None:
    """Another program has written it."""
    pipeline = declare(namespace, Journal())
    create(pipeline, cluster)
    publish(cluster, pipeline.audit_topic, b"x", b"garbage")
    publish(cluster, pipeline.workers_topic, b"x", b"garbage")
    publish(cluster, pipeline.control_topic, b"pause/queue/work", b"garbage")
    assert (read_standing_orders(pipeline, cluster), list(read_given_orders(pipeline, cluster))) == ([], [])
    assert read_workers(pipeline, cluster).statuses == []
