"""`Flight`: a part of the cluster that is away holds up no rows but its own."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from confluent_kafka import KafkaError, KafkaException

from stoker.databases.outbox.rows import OutboxRow
from stoker.producers.connection import Connection
from stoker.producers.outbox import flight as flight_module
from stoker.producers.outbox.flight import PROBE_S, Flight
from stoker.topology import ClusterSettings

NOWHERE = ClusterSettings(bootstrap_servers="127.0.0.1:1", options={"log_level": 0})
TOPIC = "shop.mails"


class Client:
    """Takes records as librdkafka's client does, and describes a topic of four partitions, one without a leader."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, int]] = []
        self.questions = 0
        self.is_silent = False

    def list_topics(self, topic: str, _timeout_s: float) -> SimpleNamespace:
        """Count the questions."""
        self.questions += 1
        if self.is_silent:
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))
        partitions = {number: SimpleNamespace(leader=number - 1) for number in range(4)}
        return SimpleNamespace(topics={topic: SimpleNamespace(error=None, partitions=partitions)})

    def produce(self, _topic: str, _value: bytes, key: bytes | None, partition: int, **_more: object) -> None:
        """Confirm nothing."""
        self.taken.append(("" if key is None else key.decode(), partition))


@pytest.fixture
def client() -> Client:
    """Stands in for the client of both connections."""
    return Client()


@pytest.fixture
def flight(client: Client) -> Flight:
    """A flight over that client."""
    made = Flight(NOWHERE)
    for connection in (made._fast, made._careful):
        assert isinstance(connection, Connection)
        connection._client = client  # type: ignore[assignment]
    return made


def row(number: int, key: bytes | None = None, partition_key: bytes | None = None) -> OutboxRow:
    """A row of the one topic."""
    return OutboxRow(number, f"j{number}", "bill", TOPIC, partition_key, key, json.dumps({}), b"x", 0, is_behind=False)


def test_a_row_is_placed_also_where_another_partition_has_no_leader(flight: Flight, client: Client) -> None:
    """All jobs of a spool without keys are placed by their ids, and would wait for that one partition."""
    assert flight.send([row(1, partition_key=b"one")]) == 1
    assert [partition for _key, partition in client.taken] == [3]


def test_brokers_that_do_not_answer_are_asked_once_for_all_rows(flight: Flight, client: Client) -> None:
    """Each question takes a second; a thousand would keep the relay from its lease, and from its end."""
    client.is_silent = True
    assert flight.send([row(number, partition_key=b"x") for number in range(1_000)]) == 0
    assert client.questions == 1
    assert flight.faults == []


def test_another_row_tries_a_topic_whose_first_one_is_not_confirmed(
    flight: Flight, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one's partition may have no leader; until then, and within its key, rows wait for it."""
    now_s = 100.0
    monkeypatch.setattr(flight_module, "time", SimpleNamespace(monotonic=lambda: now_s))
    assert flight.send([row(1, b"ada"), row(2, b"bob")]) == 1
    assert flight.probing == [TOPIC]
    now_s += PROBE_S + 0.1
    assert flight.probing == []
    assert flight.send([row(3, b"ada"), row(2, b"bob"), row(4, b"eve")]) == 1
    assert [key for key, _partition in client.taken] == ["ada", "bob"]
