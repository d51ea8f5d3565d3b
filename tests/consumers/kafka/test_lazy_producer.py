"""A client that is made for its first record: until then it costs nothing, and a finished one is replaced."""

from __future__ import annotations

from typing import Any, cast

import pytest
from confluent_kafka import KafkaError, Producer

from stoker.consumers.kafka.lazy_producer import LazyProducer


class Client:
    """Notes its calls."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *_values: self.calls.append(name)


class Clients:
    """The clients that were made so far."""

    def __init__(self) -> None:
        self.made: list[Client] = []
        self.producer = LazyProducer(self.make)

    def make(self) -> Producer:
        """Another one."""
        self.made.append(Client())
        return cast(Producer, self.made[-1])


def test_no_client_is_made_to_take_answers_or_to_close() -> None:
    """Most workers never write such records, and each client has threads and connections."""
    clients = Clients()
    clients.producer.poll()
    clients.producer.flush(1.0)
    clients.producer.close(1.0)
    assert (clients.made, bool(clients.producer)) == ([], False)
    assert clients.producer.client() is clients.producer.client()
    assert (len(clients.made), bool(clients.producer)) == (1, True)


@pytest.mark.parametrize("is_flagged", [True, False])
def test_only_a_fatal_error_ends_a_client(is_flagged: bool) -> None:
    """Whether it is flagged or named by its code alone; all others pass, or are the record's."""
    clients = Clients()
    first = clients.producer.client()
    assert not clients.producer.drop_if_fatal(KafkaError(KafkaError._MSG_TIMED_OUT))
    assert clients.producer.client() is first
    assert clients.producer.drop_if_fatal(KafkaError(KafkaError._FATAL, "fenced", fatal=is_flagged))
    assert clients.producer.client() is not first


def test_a_closed_client_has_time_for_its_answers_and_gives_up_on_the_rest() -> None:
    """A worker ends in bounded time."""
    clients = Clients()
    clients.producer.client()
    clients.producer.close(1.0)
    assert (clients.made[0].calls, bool(clients.producer)) == (["flush", "purge", "poll"], False)
