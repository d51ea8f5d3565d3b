"""Events are handed to a client of their own: nobody waits for it, and what it cannot write is counted and given up."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import pytest
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from stoker.consumers import log_keys
from stoker.consumers.records.outcomes import Snoozed
from stoker.consumers.settling.event_publisher import ANSWERS_S, REST_S, EventPublisher
from stoker.consumers.settling.writes import plan_writes
from stoker.producers.errors import SettingRefused
from stoker.schemas.own_records.job_events import JobEvent
from stoker.topology.declaration.delays import DelayClass
from stoker.topology.log_pace import LOG_INTERVAL_S
from support.scenes.deliveries import NOW, declare


class SilentProducer:
    """Stands for a client whose topic never answers, with room for a few records."""

    def __init__(self, room: int = 2) -> None:
        self.room = room
        self.refusal: KafkaException | None = None
        self.failure: KafkaException | None = None
        self.taken: list[tuple[bytes, Any]] = []
        self.confirms = False
        self.verdict: KafkaError | None = None
        self.before_refusal: Callable[[], None] = lambda: None
        self.waits_s: list[float] = []

    def produce(self, _topic: str, *, key: bytes, value: bytes, on_delivery: Any) -> None:
        """Take it, while there is room."""
        refusal = self.refusal
        if refusal is not None:
            self.before_refusal()
            raise refusal
        if len(self.taken) >= self.room:
            raise BufferError("the queue is full")
        self.taken.append((key, on_delivery))

    def answer(self, error: KafkaError | None) -> None:
        """Tell of the oldest one."""
        key, on_delivery = self.taken.pop(0)
        on_delivery(error, Message(topic="unit.events", key=key))

    def __len__(self) -> int:
        return len(self.taken)

    def poll(self, timeout_s: float) -> int:
        """Tell what is confirmed, or given up."""
        assert timeout_s == 0
        self._fail_once()
        while (self.confirms or self.verdict is not None) and self.taken:
            self.answer(self.verdict)
        return 0

    def flush(self, timeout_s: float) -> int:
        """In vain."""
        self.waits_s.append(timeout_s)
        self._fail_once()
        return len(self.taken)

    def _fail_once(self) -> None:
        """As a client does that has failed for good: whatever is called next raises that."""
        failure, self.failure = self.failure, None
        if failure is not None:
            raise failure

    def purge(self) -> None:
        """Give all of it up."""
        while self.taken:
            self.answer(KafkaError(KafkaError._PURGE_QUEUE))


class Publishing:
    """A publisher, and the clients that it made."""

    def __init__(self) -> None:
        self.made: list[SilentProducer] = []
        self.now_s = 0.0
        self.publisher = EventPublisher("unit.events", "q", self._make, clock=lambda: self.now_s)

    def _make(self) -> Producer:
        self.made.append(SilentProducer())
        return cast(Producer, self.made[-1])

    def publish(self, count: int) -> None:
        """Publish so many events."""
        for _ in range(count):
            self.publisher.publish(EVENT)


def an_event() -> JobEvent:
    """The event of a job that snoozed."""
    delivery = declare()
    outcome = Snoozed(due=NOW, delay=DelayClass.SHORT)
    event = plan_writes(delivery.record(), outcome, queue=delivery.queue, worker_id="w1", now=NOW).event
    assert event is not None
    return event


EVENT = an_event()


def reports(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """What was logged about events that were given up."""
    return [record for record in caplog.records if " could not be written to unit.events" in record.getMessage()]


def test_a_queue_without_events_has_no_client_for_them() -> None:
    """A client costs threads and memory, and an idle queue needs none."""
    scene = Publishing()
    scene.publisher.poll()
    scene.publisher.close(1.0)
    assert scene.made == []


def test_events_beyond_the_bound_are_counted_and_given_up(caplog: pytest.LogCaptureFixture) -> None:
    """One line tells of the first, the next one a minute later of all since; each names a job."""
    scene = Publishing()
    scene.publish(1_000)
    assert scene.publisher.given_up.total == 998
    (first,) = reports(caplog)
    assert (vars(first)[log_keys.JOB_ID], vars(first)[log_keys.QUEUE]) == ("job-1", "q")
    scene.publisher.close(0.0)
    assert [vars(report)[log_keys.COUNT] for report in reports(caplog)] == [1, 999]


def test_an_event_of_many_jobs_counts_for_all_of_them() -> None:
    """Whoever reads how many were given up wants to know of how many jobs the history has gaps."""
    scene = Publishing()
    for _ in range(3):
        scene.publisher.publish_many(b"w1", b"columns", 500)
    assert scene.publisher.given_up.total == 500
    scene.publisher.close(0.0)
    assert scene.publisher.given_up.total == 1_500


@pytest.mark.parametrize(("jobs", "words"), [(1, "1 done job"), (500, "500 done jobs")])
def test_a_report_about_done_jobs_names_none_of_them(jobs: int, words: str, caplog: pytest.LogCaptureFixture) -> None:
    """The key of their event is the worker's id, which nobody shall take for a job's."""
    scene = Publishing()
    scene.publisher.publish_many(b"w1", b"columns", jobs)
    scene.publisher.close(0.0)
    (report,) = caplog.records
    assert report.getMessage().startswith(f"there is no event on unit.events of {words}: ")
    assert "w1" not in report.getMessage()
    assert (log_keys.JOB_ID in vars(report), vars(report)[log_keys.COUNT]) == (False, jobs)


def test_done_jobs_and_other_events_are_reported_apart(caplog: pytest.LogCaptureFixture) -> None:
    """One line has the last job and its cause, the other the number of jobs."""
    scene = Publishing()
    scene.publish(1)
    scene.publisher.publish_many(b"w1", b"columns", 500)
    scene.publisher.close(0.0)
    assert sorted(record.getMessage().split(":")[0] for record in caplog.records) == [
        "the worker has given up 1 event that could not be written to unit.events, the last one of job job-1",
        "there is no event on unit.events of 500 done jobs",
    ]


def test_a_report_about_an_event_of_no_job_names_none(caplog: pytest.LogCaptureFixture) -> None:
    """How many jobs wait in a queue is an event as well."""
    scene = Publishing()
    scene.publisher.publish(replace(EVENT, subject=replace(EVENT.subject, job_id="")))
    scene.publisher.close(0.0)
    (report,) = reports(caplog)
    assert "given up 1 event that could not be written to unit.events: " in report.getMessage()
    assert log_keys.JOB_ID not in vars(report)


def test_a_report_is_repeated_after_a_minute(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """So an outage that lasts is not forgotten, and fills no log."""
    scene = Publishing()
    now_s = [time.monotonic()]
    monkeypatch.setattr(time, "monotonic", lambda: now_s[0])
    scene.publish(4)
    now_s[0] += LOG_INTERVAL_S - 0.1
    scene.publisher.poll()
    assert len(reports(caplog)) == 1
    now_s[0] += 0.1
    scene.publisher.poll()
    assert [vars(report)[log_keys.COUNT] for report in reports(caplog)] == [1, 1]


def test_what_is_confirmed_makes_room_at_once() -> None:
    """Under load many more events are confirmed in a second than the client may hold."""
    scene = Publishing()
    scene.publish(2)
    scene.made[0].confirms = True
    scene.publish(1)
    assert scene.publisher.given_up.total == 0


def test_a_client_that_failed_for_good_is_replaced() -> None:
    """One fatal error must not end the events of a process that lives for months."""
    scene = Publishing()
    scene.publish(1)
    scene.made[0].answer(KafkaError(KafkaError._FATAL, fatal=True))
    scene.publish(1)
    assert [len(client.taken) for client in scene.made] == [0, 1]


def test_a_client_that_failed_for_good_ends_no_caller_and_is_replaced() -> None:
    """It raises that once, from whatever is called next, and refuses each further event."""
    scene, fatal = Publishing(), KafkaException(KafkaError(KafkaError._FATAL, "fenced", fatal=True))
    scene.publish(1)
    scene.made[0].failure = fatal
    scene.publisher.poll()
    scene.made[0].refusal = fatal
    scene.publish(3)
    assert [len(client.taken) for client in scene.made] == [1, 2]
    assert scene.publisher.given_up.total == 1
    scene.made[1].failure = fatal
    scene.publisher.close(1.0)
    assert scene.publisher.given_up.total == 4, (
        "the refused one, what the first client had, and what the second one had"
    )


def test_while_the_cause_lasts_there_is_one_new_client_a_second() -> None:
    """Each one costs threads and a login. The events in between are given up."""
    scene, fatal = Publishing(), KafkaError(KafkaError._FATAL, "fenced", fatal=True)
    for _ in range(300):
        scene.publish(1)
        if scene.made[-1].taken:
            scene.made[-1].answer(fatal)
        scene.now_s += 0.01
    assert len(scene.made) == 1 + 3
    assert scene.publisher.given_up.total == 300
    scene.now_s += REST_S
    scene.publish(1)
    assert len(scene.made[-1].taken) == 1
    scene.made[-1].answer(None)
    assert scene.publisher.given_up.total == 300


def test_a_client_that_can_never_be_made_is_tried_once_a_second() -> None:
    """The events in between are given up for the same reason."""
    tried: list[float] = []
    now_s = 0.0

    def make() -> Producer:
        tried.append(now_s)
        raise SettingRefused("librdkafka", "failed to create thread")

    publisher = EventPublisher("unit.events", "q", make, clock=lambda: now_s)
    for _ in range(300):
        publisher.publish(EVENT)
        now_s += 0.01
    assert len(tried) == 1 + 3
    assert publisher.given_up.total == 300


@pytest.mark.parametrize("way", ["answer", "refusal"])
def test_a_late_word_of_a_finished_client_does_not_end_the_sound_one(way: str) -> None:
    """A thread may learn from the finished client after another thread has replaced it."""
    scene, fatal = Publishing(), KafkaError(KafkaError._FATAL, "fenced", fatal=True)
    scene.publish(2)
    first = scene.made[0]

    def replace_client() -> None:
        first.before_refusal, first.refusal = lambda: None, None
        first.answer(fatal)
        scene.publish(1)

    if way == "answer":
        replace_client()
        first.answer(fatal)
    else:
        first.refusal, first.before_refusal = KafkaException(fatal), replace_client
        scene.publish(1)
    scene.publish(1)
    assert [len(client.taken) for client in scene.made[1:]] == [2]
    assert scene.publisher.given_up.total == 2


@pytest.mark.parametrize("way", ["poll", "close"])
def test_what_a_finished_client_had_is_counted_as_given_up(way: str) -> None:
    """It answers that only when it is polled after the error, and at the end it is asked as well."""
    scene, fatal = Publishing(), KafkaError(KafkaError._FATAL, "fenced", fatal=True)
    scene.publish(2)
    (first,) = scene.made
    first.refusal = KafkaException(fatal)
    scene.publish(1)
    scene.publisher.poll()
    assert scene.publisher.given_up.total == 1, "it has not answered yet"
    if way == "poll":
        first.verdict = fatal
        scene.publisher.poll()
    else:
        scene.publisher.close(1.0)
    assert scene.publisher.given_up.total == 3
    assert scene.publisher._finished == []


def test_a_refused_event_does_not_reach_the_settler() -> None:
    """A deleted topic is refused by the call itself."""
    scene = Publishing()
    scene.publish(1)
    scene.made[0].refusal = KafkaException(KafkaError(KafkaError._UNKNOWN_TOPIC))
    scene.publish(1)
    scene.publisher.publish(replace(EVENT, at=cast(Any, "no instant")))
    assert scene.publisher.given_up.total == 2


def test_a_client_that_cannot_be_made_does_not_reach_the_settler() -> None:
    """A process may have no thread left for it; the next event tries again."""
    refusals = [SettingRefused("librdkafka", "failed to create thread")]

    def make() -> Producer:
        if refusals:
            raise refusals.pop()
        return cast(Producer, SilentProducer())

    publisher = EventPublisher("unit.events", "q", make)
    publisher.publish(EVENT)
    publisher.publish(EVENT)
    assert publisher.given_up.total == 1


def test_the_end_waits_for_events_no_longer_than_it_may() -> None:
    """What is not confirmed by then is given up; what comes later makes no client any more."""
    scene = Publishing()
    scene.publish(2)
    scene.publisher.close(1.0)
    scene.publish(1)
    (client,) = scene.made
    assert client.waits_s == [1.0, ANSWERS_S]
    assert scene.publisher.given_up.total == 2


@pytest.mark.parametrize(
    ("code", "fix"),
    [
        (KafkaError._UNKNOWN_TOPIC, "Unknown topic; see that the topic exists"),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, "Topic authorization failed; grant the worker the right to write"),
        (KafkaError._MSG_TIMED_OUT, "Message timed out; see that the topic has a leader"),
    ],
)
def test_the_log_has_the_cause_in_words_and_how_to_fix_it(
    code: int, fix: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The client's own error, printed as it is, is a line of codes."""
    scene = Publishing()
    scene.publish(1)
    scene.made[0].refusal = KafkaException(KafkaError(code))
    scene.publish(1)
    (report,) = reports(caplog)
    assert fix in report.getMessage()
    assert "KafkaError{" not in report.getMessage()
