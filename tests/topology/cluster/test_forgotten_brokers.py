"""Clients that librdkafka has made forget their brokers. A broker of our own answers, since no real one can be asked to
say that no broker is up; that a real outage is outlived is shown in tests/consumers/on_brokers/test_outage.py.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from threading import Semaphore

import pytest

from stoker.topology.cluster import forgotten_brokers
from stoker.topology.cluster.forgotten_brokers import LastingConsumer, LastingProducer, lasting
from support.kafka.brokerless_broker import TOPIC, BrokerlessBroker
from support.waiting import wait_until

KINDS = [LastingConsumer, LastingProducer]
Client = LastingConsumer | LastingProducer


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients are reminded sooner than others, and still only after one was cut off."""
    monkeypatch.setattr(forgotten_brokers, "REMIND_EVERY_S", 2.0)


@pytest.fixture
def broker() -> Iterator[BrokerlessBroker]:
    """It is up."""
    broker = BrokerlessBroker()
    broker.start()
    yield broker
    broker.stop()


def cut_off(kind: type[Client], broker: BrokerlessBroker) -> Client:
    """A client that has forgotten its broker, which is up again.

    Without a strategy to recover, librdkafka never begins anew; by a fault in it, this happens with one, too.
    """
    config: dict[str, object] = {
        "bootstrap.servers": broker.address,
        "client.id": "cut-off",
        "log_level": 0,
        "topic.metadata.refresh.interval.ms": 100,
        "metadata.recovery.strategy": "none",
    }
    client: Client = (
        lasting(LastingConsumer, {**config, "group.id": "any"})
        if kind is LastingConsumer
        else lasting(LastingProducer, config)
    )
    client.list_topics(TOPIC, timeout=30)
    broker.is_up, asked = False, broker.asked
    wait_until(lambda: client.poll(0.05) or broker.asked > asked, what="the answer that no broker is up")
    broker.stop()
    broker.is_up = True
    client.poll(1.0)
    broker.start()
    return client


@pytest.mark.parametrize("kind", KINDS)
def test_a_client_that_has_forgotten_its_brokers_gets_them_again(kind: type[Client], broker: BrokerlessBroker) -> None:
    """It asks them as before, some seconds after they are back."""
    client = cut_off(kind, broker)
    before = broker.asked
    wait_until(lambda: client.poll(0.05) or broker.asked > before, 30, "a question of the client that was cut off")
    assert client.list_topics(TOPIC, timeout=30).brokers


def test_a_client_of_another_librdkafka_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its handle may be elsewhere; and where brokers are never forgotten, nothing is to be fixed."""
    forgotten_brokers._library.cache_clear()
    for other in (0x02090000, 0x02110000):
        monkeypatch.setattr("confluent_kafka.libversion", lambda other=other: ("other", other))
        assert forgotten_brokers._library() is None
        forgotten_brokers._library.cache_clear()


@pytest.mark.parametrize("kind", KINDS)
def test_a_client_that_was_closed_is_left_alone(
    kind: type[Client], broker: BrokerlessBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is called with the handle of a client that is gone."""
    reminded: list[object] = []
    monkeypatch.setattr(forgotten_brokers, "_remind", lambda client, *_: reminded.append(client))
    closed, kept = cut_off(kind, broker), cut_off(LastingProducer, broker)
    closed.close()
    reminded.clear()
    wait_until(lambda: kept in reminded, 30, "the client that was not closed")
    assert closed not in reminded


def test_a_thread_that_reminds_and_fails_is_followed_by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a client that is made later would forget its brokers for good."""
    ended = Semaphore(0)
    monkeypatch.setattr(threading, "excepthook", lambda _args: ended.release())
    monkeypatch.setattr(forgotten_brokers, "REMIND_EVERY_S", 0.01)
    monkeypatch.setattr(forgotten_brokers, "_remind", lambda *_: 1 / 0)
    reminder = forgotten_brokers._Reminder()
    clients = [LastingProducer({"bootstrap.servers": "localhost:1", "log_level": 0}) for _ in range(2)]
    for client in clients:
        reminder.remember(client, {})
        assert ended.acquire(timeout=60)
