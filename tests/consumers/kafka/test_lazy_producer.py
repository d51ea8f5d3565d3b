"""A client that is made for its first record: until then it costs nothing, and a finished one is replaced."""

from __future__ import annotations

from typing import Any, cast

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer

from stoker.consumers.kafka.lazy_producer import LazyProducer


class Client:
    """Notes its calls."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.failure: KafkaException | None = None

    def __getattr__(self, name: str) -> Any:
        return lambda *_values: self.note(name)

    def note(self, name: str) -> None:
        """Note a call, and fail if it is told so."""
        self.calls.append(name)
        if self.failure is not None and name != "purge":
            raise self.failure


class Clients:
    """The clients that were made so far."""

    def __init__(self) -> None:
        self.made: list[Client] = []
        self.finished: list[KafkaError] = []
        self.producer = LazyProducer(self.make, self.finished.append)

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


@pytest.mark.parametrize("way", ["poll", "flush", "report"])
def test_the_owner_learns_once_that_a_client_has_failed_for_good(way: str) -> None:
    """The client raises the error from whatever is called next, or an answer has it; other errors are the caller's."""
    fatal = KafkaError(KafkaError._FATAL, "fenced", fatal=True)
    clients = Clients()
    clients.producer.client()
    (client,) = clients.made
    client.failure = KafkaException(KafkaError(KafkaError._INVALID_ARG))
    for call in (clients.producer.poll, clients.producer.flush):
        with pytest.raises(KafkaException):
            call(0.0)
    assert (bool(clients.producer), clients.finished) == (True, [])
    client.failure = KafkaException(fatal)
    if way == "poll":
        clients.producer.poll()
    elif way == "flush":
        clients.producer.flush(1.0)
    else:
        clients.producer.drop_if_fatal(fatal)
    assert (bool(clients.producer), clients.finished) == (False, [fatal])
    clients.producer.drop_if_fatal(fatal)
    assert clients.finished == [fatal], "another answer of the same client"


def test_a_client_that_fails_as_it_is_closed_is_given_up() -> None:
    """Nothing more is wanted of it."""
    clients = Clients()
    clients.producer.client()
    clients.made[0].failure = KafkaException(KafkaError(KafkaError._FATAL, "fenced", fatal=True))
    clients.producer.close(1.0)
    assert (clients.made[0].calls, bool(clients.producer)) == (["flush", "purge", "poll"], False)


def test_a_closed_client_has_time_for_its_answers_and_gives_up_on_the_rest() -> None:
    """A worker ends in bounded time."""
    clients = Clients()
    clients.producer.client()
    clients.producer.close(1.0)
    assert (clients.made[0].calls, bool(clients.producer)) == (["flush", "purge", "poll"], False)
