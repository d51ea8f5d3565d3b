"""The follower of a late job is written, whatever becomes of the client that had it.

A fatal error cannot be had of a real client on demand, so the clients here are none.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

import pytest
from confluent_kafka import KafkaError

from stoker.consumers.followers.late_jobs import LateJobs
from stoker.consumers.records.record import Record
from stoker.consumers.settling.outgoing import OutgoingRecord
from support.scenes.deliveries import declare


class Client:
    """Keeps what it is given, until it answers."""

    def __init__(self) -> None:
        self.given: list[bytes] = []
        self.answers: deque[Callable[[], None]] = deque()

    def produce(self, _topic: str, *, value: bytes, on_delivery: Callable[..., None], **_named: Any) -> None:
        """Take a record."""
        self.given.append(value)
        self.on_delivery = on_delivery

    def poll(self, _timeout_s: float) -> None:
        """Give the answers that are there."""
        while self.answers:
            self.answers.popleft()()


class Followers:
    """Two followers of each late job."""

    def is_late_ready(self, _record: Record) -> bool:
        """Always."""
        return True

    def of_late(self, record: Record, _at: datetime) -> tuple[str, Callable[[], Iterable[OutgoingRecord]]]:
        """Both at once."""
        return str(record.offset), lambda: [
            OutgoingRecord(topic="tickets", partition=-1, key=None, value=value, headers=[]) for value in (b"1", b"2")
        ]


class Notes:
    """One late job."""

    def __init__(self, record: Record) -> None:
        self.waiting = deque([(record, datetime.now(UTC))])
        self.wake, self.lost, self.is_declared = threading.Event(), 0, True


@pytest.mark.expected_errors("is written again: fenced")
def test_what_a_client_had_that_failed_for_good_is_written_by_another() -> None:
    """Also those that it never answers: the error of one of them is its last word."""
    record, clients = declare().record(), [Client(), Client()]
    made = iter(clients)
    stories: Any = Followers()
    notes: Any = Notes(record)
    make: Any = lambda: next(made)  # noqa: E731
    late = LateJobs(declare().queue, notes, stories, make, list)
    late._turn()
    assert clients[0].given == [b"1", b"2"]
    fatal = KafkaError(KafkaError._FATAL, "fenced", fatal=True)
    clients[0].answers.append(lambda: clients[0].on_delivery(fatal, None))
    late._turn()
    late._turn()
    assert sorted(clients[1].given) == [b"1", b"2"]
    assert late._has_work
