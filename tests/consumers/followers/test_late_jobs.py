"""The follower of a late job is written, whatever becomes of the client that had it.

A fatal error cannot be had of a real client on demand, so the clients here are none.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from confluent_kafka import KafkaError, KafkaException

from stoker.consumers.followers import late_jobs as followers
from stoker.consumers.followers import late_notes
from stoker.consumers.followers.late_jobs import LateJobs
from stoker.consumers.followers.late_notes import LateNotes
from stoker.consumers.records.record import Record
from stoker.consumers.settling.outgoing import OutgoingRecord
from stoker.topology import JobStory, Pipeline
from stoker.topology.wire.headers import JOB_ID, TIME
from support.scenes.deliveries import declare

pytestmark = pytest.mark.expected_errors("has failed for good (fenced)")


@pytest.fixture(autouse=True)
def no_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another client is made at once."""
    monkeypatch.setattr(followers, "REST_S", 0.0)


class Client:
    """Keeps what it is given, until it answers."""

    def __init__(self) -> None:
        self.given: list[bytes] = []
        self.failure: KafkaException | None = None
        self.answers: deque[Callable[[], None]] = deque()

    def produce(self, _topic: str, *, value: bytes, on_delivery: Callable[..., None], **_named: Any) -> None:
        """Take a record."""
        self.given.append(value)
        self.on_delivery = on_delivery

    def flush(self, timeout_s: float) -> None:
        """As a poll."""
        self.poll(timeout_s)

    def poll(self, _timeout_s: float) -> None:
        """Give the answers that are there, or fail."""
        if self.failure is not None:
            raise self.failure
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
            OutgoingRecord(
                topic="tickets",
                partition=-1,
                key=None,
                value=value,
                headers=[(JOB_ID, b"f" + value)],
            )
            for value in (b"1", b"2")
        ]


class Notes:
    """One late job."""

    def __init__(self, record: Record) -> None:
        self.waiting = deque([(record, datetime.now(UTC))])
        self.wake, self.is_declared = threading.Event(), True

    def take_lost(self) -> tuple[int, Record | None]:
        """None."""
        return 0, None


def late_jobs(*clients: Client) -> LateJobs:
    """One late job with two followers; these clients are made, one after the other."""
    made = iter(clients)
    stories: Any = Followers()
    notes: Any = Notes(declare().record())
    make: Any = lambda: next(made)  # noqa: E731
    return LateJobs(declare().queue, notes, stories, make, list)


@pytest.mark.expected_errors("is written again: fenced")
@pytest.mark.parametrize("is_flagged", [True, False])
def test_what_a_client_had_that_failed_for_good_is_written_by_another(
    is_flagged: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Also those that it never answers: the error of one of them is its last word.

    Not each report of a fatal error is flagged as one: its code names it as well.
    """
    clients = [Client(), Client()]
    late = late_jobs(*clients)
    late._turn()
    assert clients[0].given == [b"1", b"2"]
    fatal = KafkaError(KafkaError._FATAL, "fenced", fatal=is_flagged)
    clients[0].answers.append(lambda: clients[0].on_delivery(fatal, None))
    late._turn()
    late._turn()
    assert sorted(clients[1].given) == [b"1", b"2"]
    assert late._has_work
    assert "job f2, which follows a late one, could not be written to tickets, and is written again" in caplog.text


@pytest.mark.parametrize("way", ["poll", "flush"])
def test_a_client_that_raises_that_it_has_failed_for_good_ends_no_thread(way: str) -> None:
    """It raises that once, from whatever is called next: another client writes what it has not confirmed."""
    clients = [Client(), Client()]
    late = late_jobs(*clients)
    late._turn()
    clients[0].failure = KafkaException(KafkaError(KafkaError._FATAL, "fenced", fatal=True))
    if way == "poll":
        late._turn()
    else:
        late._producer.flush(1.0)
    late._turn()
    assert sorted(clients[1].given) == [b"1", b"2"]


class FinishedClient(Client):
    """Has failed for good, and has nothing left to answer."""

    def produce(self, _topic: str, *, value: bytes, on_delivery: Callable[..., None], **_named: Any) -> None:
        """Take nothing."""
        raise KafkaException(KafkaError(KafkaError._FATAL, "fenced"))


def test_a_client_that_takes_no_record_any_more_is_replaced() -> None:
    """Else the followers would be offered to it for ever."""
    other = Client()
    late = late_jobs(FinishedClient(), other)
    for _ in range(3):
        late._turn()
    assert sorted(other.given) == [b"1", b"2"]


@pytest.mark.parametrize("way", ["rest is over", "worker ends"])
def test_a_client_that_has_failed_for_good_is_replaced_after_a_rest(
    way: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A lasting cause makes a client now and then, and one line for each; what is left at the end is tried at once."""
    monkeypatch.setattr(followers, "REST_S", 1_000.0)
    first, second = Client(), Client()
    late = late_jobs(first, second)
    late._turn()
    first.failure = KafkaException(KafkaError(KafkaError._FATAL, "fenced", fatal=True))
    for _ in range(3):
        late._turn()
    assert second.given == []
    (line,) = caplog.records
    assert "another one is made in 1000 s" in line.getMessage()
    if way == "rest is over":
        late._rest_ends_at_s = 0.0
    else:
        late._stopping.set()
    late._turn()
    assert sorted(second.given) == [b"1", b"2"]


def page_owner(story: JobStory) -> None:
    """Follow."""


@pytest.mark.expected_errors("no follower is enqueued")
def test_late_jobs_without_room_are_logged_with_the_last_of_them(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Their number, and a job by which the others are found."""
    monkeypatch.setattr(late_notes, "MOST_WAITING", 0)
    pipeline = Pipeline("unit")
    page = pipeline.job(pipeline.queue("pages"), name="page")(page_owner)
    queue = pipeline.queue("q", on_late=page, late_after=timedelta(seconds=1))
    notes, stories = LateNotes(pipeline, queue), cast(Any, Followers())
    for name in (b"a", b"b"):
        notes.note(declare().record(headers={JOB_ID: name, TIME: b"2013-01-31T12:00:00Z"}))
    LateJobs(queue, notes, stories, lambda: cast(Any, Client()), list)._turn()
    assert "no follower is enqueued for 2 late jobs, the last of them job b, since" in caplog.text


@pytest.mark.expected_errors("has not written")
@pytest.mark.parametrize(("way", "left"), [("not ready", 1), ("not confirmed", 2)])
def test_what_is_not_written_at_the_end_of_the_worker_is_logged(
    way: str, left: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The schema store or the brokers are away as a worker stops: a late job that has ended has no follower then."""
    if way == "not ready":
        monkeypatch.setattr(Followers, "is_late_ready", lambda _self, _record: False)
    late = late_jobs(Client())
    late._stopping.set()
    late._run()
    (line,) = caplog.records
    assert f"has not written {left} of the followers of late jobs" in line.getMessage()
