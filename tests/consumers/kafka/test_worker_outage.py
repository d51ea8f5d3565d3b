"""A worker that loses its brokers logs it once, names itself and what it means for jobs, and logs the end once."""

from __future__ import annotations

import logging

import pytest
from confluent_kafka import KafkaError

from stoker.consumers.control import control_thread
from stoker.consumers.kafka.outage import WorkerOutage
from stoker.operations.broker.embedded import EmbeddedBroker
from stoker.producers import Producer
from stoker.topology import ClusterSettings
from stoker.topology.planning.apply import ensure_topology
from support.scenes.worker import Journal, declare_queue, running_worker, wait_all_committed
from support.waiting import wait_until

LOST, DOWN = KafkaError(KafkaError._TRANSPORT, "Connection refused"), KafkaError(KafkaError._ALL_BROKERS_DOWN, "1/1")


class Moments:
    """An outage, and a clock that the test moves."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.outage = WorkerOutage("mails", "kafka:9092", lambda: self.now_s)

    def after(self, seconds: float, *errors: KafkaError, connected: bool = False) -> None:
        """Let time pass, then have the client report these or connect, and look."""
        self.now_s += seconds
        for error in errors:
            self.outage.note(error)
        if connected:
            self.outage.note_connected()
        self.outage.review()


def test_an_outage_is_total_until_a_broker_answers() -> None:
    """One broker that is away is no reason to be without partitions; none at all is one."""
    moments = Moments()
    moments.after(1, LOST)
    assert not moments.outage.is_total
    moments.after(1, DOWN)
    assert moments.outage.is_total
    moments.after(1, connected=True)
    moments.after(1)
    assert not moments.outage.is_total


def test_an_outage_of_a_worker_is_two_lines(
    broker: EmbeddedBroker, namespace: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker that is away for some seconds: one warning when it goes and one when it is back, and no more."""
    monkeypatch.setattr(control_thread, "STALE_AFTER_S", 600.0)  # a busy machine takes longer than 15 s to start it
    cluster = ClusterSettings(bootstrap_servers=broker.start())
    pipeline, queue = declare_queue(namespace)
    journal = Journal()

    @pipeline.job(queue)
    def act(number: int) -> None:
        journal.note(number)

    def said() -> list[logging.LogRecord]:
        return [found for found in list(caplog.records) if found.levelno >= logging.WARNING]

    ensure_topology(pipeline, cluster)
    with running_worker(pipeline, cluster) as running:
        with Producer(pipeline, cluster) as producer:
            producer.enqueue_many(act.call(number) for number in range(20))
        running.wait_outcomes(Done=20)  # so both partitions are restored
        wait_all_committed(cluster, queue)
        broker.stop()
        wait_until(said, 60, "the worker to log it")
        broker.start()
        wait_until(lambda: len(said()) > 1, 60, "the worker to log the end")
        told = said()  # before it stops, perhaps while the coordinator still loads
    lost, back = [found.getMessage() for found in told]
    assert lost.startswith("the worker of queue 'work' has lost all brokers")
    assert "none is lost" in lost
    assert back.startswith("the worker of queue 'work' has its brokers again")
    assert {found.name for found in told} == {"stoker.worker"}


def test_one_lost_broker_of_several_is_named_as_such(caplog: pytest.LogCaptureFixture) -> None:
    """While others answer, only the jobs of the partitions that it leads wait."""
    moments = Moments()
    for _ in range(5):
        moments.after(1, LOST)
    assert "has lost a broker at kafka:9092 (Connection refused)" in caplog.text
    moments.after(1, connected=True)
    moments.after(1)
    assert [found.levelno for found in caplog.records] == [logging.WARNING] * 2


@pytest.mark.parametrize("connected", [True, False])
def test_what_is_over_at_once_is_not_logged(caplog: pytest.LogCaptureFixture, connected: bool) -> None:
    """An idle connection that a broker closes, and a broker that is back in a moment, are no outage."""
    moments = Moments()
    moments.after(0, LOST)
    moments.after(0.5, connected=connected)
    for _ in range(70):
        moments.after(1)
    assert not caplog.records


def test_refused_credentials_are_no_end(caplog: pytest.LogCaptureFixture) -> None:
    """A broker that answers and then refuses the credentials, again and again, has not come back."""
    moments = Moments()
    for _ in range(30):
        moments.outage.note_connected()
        moments.after(0.01, KafkaError(KafkaError._AUTHENTICATION, "Authentication failed"), DOWN)
        moments.after(2)
    (told,) = [found.getMessage() for found in caplog.records]
    assert "(Authentication failed)" in told
