"""A reader whose client has failed for good goes on with another one, also where that cannot be made at once.

A client that cannot be made cannot be had on demand, so the clients here are none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from stoker.producers.control.log_reader import LogReader
from stoker.producers.errors import SettingRefused
from stoker.topology import ClusterSettings

FATAL = KafkaError(KafkaError._FATAL, "fenced", fatal=True)


class Client:
    """Has one batch."""

    def __init__(self, *batch: Message) -> None:
        self.batch = list(batch)
        self.began_at: list[int] = []
        self.is_closed = False

    def assign(self, places: list[TopicPartition]) -> None:
        """Read from there."""
        self.began_at += [place.offset for place in places]

    def poll(self, _timeout_s: float) -> Message | None:
        """The first one."""
        return self.batch.pop(0) if self.batch else None

    def consume(self, _most: int, _timeout_s: float) -> list[Message]:
        """The others."""
        batch, self.batch = self.batch, []
        return batch

    def close(self) -> None:
        """Note it."""
        self.is_closed = True


Makes = Callable[..., LogReader]


@pytest.fixture
def make_reader(monkeypatch: pytest.MonkeyPatch) -> Makes:
    """Make a reader whose clients are these, or cannot be made for these reasons, one after the other."""

    def make(*clients: Client | Exception) -> LogReader:
        made = iter(clients)

        def connect(_reader: LogReader) -> Any:
            client = next(made)
            if isinstance(client, Exception):
                raise client
            return client

        monkeypatch.setattr(LogReader, "_connect", connect)
        reader = LogReader(ClusterSettings(bootstrap_servers="127.0.0.1:1"), "orders", client_id="c")
        reader.start()
        return reader

    return make


def record(value: bytes, offset: int) -> Message:
    """One that the client has read."""
    return Message(topic="orders", partition=0, offset=offset, value=value)


def values(reader: LogReader) -> list[bytes | None]:
    """What a read returns."""
    return [message.value() for message in reader.read(0.0)]


def test_what_was_read_with_the_fatal_error_is_returned_though_no_other_client_can_be_made(make_reader: Makes) -> None:
    """The position is past it by then, so no later read returns it; each later read tries to make a client."""
    second = Client(record(b"b", 5))
    refusals = [SettingRefused("librdkafka", "failed to create thread"), KafkaException(KafkaError(KafkaError._FAIL))]
    reader = make_reader(Client(record(b"a", 4), Message(error=FATAL)), *refusals, second)
    assert values(reader) == [b"a"]
    for refusal in refusals:
        with pytest.raises(type(refusal)):
            reader.read(0.0)
    assert values(reader) == [b"b"]
    assert (second.began_at, reader.position) == ([5], 6)
    reader.close()
    assert second.is_closed


def test_a_client_that_has_failed_for_good_is_not_closed(make_reader: Makes) -> None:
    """Its close would wait for what never ends."""
    client = Client(Message(error=FATAL))
    reader = make_reader(client)
    assert values(reader) == []
    reader.close()
    assert not client.is_closed
