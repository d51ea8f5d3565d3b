"""A topic is read up to where it ended when that was asked, though its leader changes on the way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from confluent_kafka import KafkaError, Message

from stoker.operations.stored_jobs import topic_reader
from stoker.operations.stored_jobs.topic_reader import Span, TopicReader
from stoker.topology import ClusterSettings


class Client:
    """A consumer of a topic with one partition.

    Args:
        batches: offsets of records, and of ends that the partition's leader reports as negative numbers.
        log_end: where the log ends.
    """

    def __init__(self, batches: Sequence[Sequence[int]], log_end: int) -> None:
        self._batches, self._log_end = iter(batches), log_end

    def get_watermark_offsets(self, _place: object, **_within: float) -> tuple[int, int]:
        """Where the log begins and ends."""
        return 0, self._log_end

    def consume(self, _limit: int, _timeout_s: float) -> list[Message]:
        """The next ones."""
        end = KafkaError(KafkaError._PARTITION_EOF)
        return [
            Message(topic="t", partition=0, offset=abs(at), error=end if at < 0 else None)
            for at in next(self._batches, [])
        ]

    def __getattr__(self, _name: str) -> Any:
        """Take all else as it is."""
        return lambda *_arguments: None


def offsets_read(monkeypatch: pytest.MonkeyPatch, client: Client) -> list[int | None]:
    """The records of the first four offsets."""
    monkeypatch.setattr(topic_reader, "make_client", lambda *_made_of: client)
    with TopicReader(ClusterSettings(bootstrap_servers="nowhere:1"), "t") as reader:
        return [message.offset() for message in reader.read([Span(partition=0, start=0, end=4)])]


def test_a_leader_that_lags_ends_no_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dispositions would be missed, and dead letters replayed that were replayed before."""
    assert offsets_read(monkeypatch, Client([[0, 1, -2], [2, 3]], log_end=4)) == [0, 1, 2, 3]


def test_what_is_cut_off_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The log ends before its former end, for good."""
    assert offsets_read(monkeypatch, Client([[0, 1, -2]], log_end=2)) == [0, 1]
