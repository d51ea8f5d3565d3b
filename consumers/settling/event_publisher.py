"""`EventPublisher`: puts events on their topic by a client of its own, for which no job ever waits.

The topic of events may be gone, without a leader or slow: outcomes are settled meanwhile as ever, since
another client writes those. Unwritten events are bounded by number and bytes; what does not fit, or is not confirmed in
time, is counted and given up.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from ...producers.errors import SettingRefused
from ...schemas.own_records.job_events import JobEvent, encode_event
from ...topology.cluster.kafka_errors import as_error, is_fatal, with_fix
from ...topology.counts import counted
from ...topology.log_pace import LogPace
from .. import log_keys

_LOGGER = logging.getLogger("stoker.events")

MOST_EVENTS: Final = 10_000
MOST_EVENTS_KBYTES: Final = 16_384
"""Bounds on the events of one queue that are not confirmed yet; jobs that do nothing make some 6 MB a second."""
REST_S: Final = 1.0
"""Between two clients that replace others: each one costs threads, connections and a login, and may fail as well."""
ANSWERS_S: Final = 0.5
"""How long the client may take to name what was purged: its threads for the brokers are asked first."""
_GIVEN_UP: Final = (BufferError, KafkaException, SettingRefused, TypeError, ValueError, LookupError, OverflowError)
"""No room, no topic, no client, or no event that fits its schema."""

Note = Callable[[KafkaError | None, Message], None]
"""Takes the brokers' answer about one event."""


class EventPublisher:
    """Publishes the events of one queue; any thread may call it, and no call waits but `close`.

    The client is made for the first event.
    """

    def __init__(
        self,
        topic: str,
        queue: str,
        make_producer: Callable[[], Producer],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._topic = topic
        self._make_producer, self._clock = make_producer, clock
        self._trouble: Exception | None = None  # why there is no client
        self._rests_until_at_s = float("-inf")
        self._lock = threading.Lock()
        self._producer: Producer | None = None
        self._finished: list[Producer] = []  # they have failed for good, and have not answered everything yet
        self._is_closed = False
        self.given_up = GivenUp(topic, queue)

    def publish(self, event: JobEvent) -> None:
        """Send an event, or give it up; never raises, and never waits for a broker."""
        key = event.subject.job_id.encode("utf-8", "backslashreplace")
        producer: Producer | None = None
        try:
            value = encode_event(event)
            producer = self._connected()
            if producer is not None:
                self._offer(producer, key, value, partial(self._note, producer))
        except _GIVEN_UP as failure:
            self._replace_if_finished(producer, failure)
            self.given_up.count(key, failure)

    def publish_many(self, key: bytes, value: bytes, jobs: int) -> None:
        """Send an encoded event of jobs that are done, or give it up; never raises, and never waits for a broker."""
        producer: Producer | None = None
        try:
            producer = self._connected()
            if producer is not None:
                self._offer(producer, key, value, partial(self._note_done, producer, jobs))
        except _GIVEN_UP as failure:
            self._replace_if_finished(producer, failure)
            self.given_up.count_done(jobs, failure)

    def poll(self) -> None:
        """Take the brokers' answers, so that what is confirmed makes room; to be called every second or so."""
        producer = self._producer
        if producer is not None:
            _take_answers(producer.poll, 0.0)
        self._serve_finished()
        self.given_up.report_if_due()

    def close(self, within_s: float) -> None:
        """Let what was sent be confirmed, for so long at the most, and give up the rest."""
        with self._lock:
            producer, self._producer, self._is_closed = self._producer, None, True
        self._serve_finished()
        left, self._finished = self._finished, []
        if producer is not None and _take_answers(producer.flush, within_s):
            left.append(producer)
        for client in left:
            client.purge()
        for client in left:
            _take_answers(client.flush, ANSWERS_S / len(left))
        self.given_up.report()

    def _serve_finished(self) -> None:
        """Take what finished clients answer, until they have answered everything: it is counted as given up."""
        for client in tuple(self._finished):
            _take_answers(client.poll, 0.0)
        with self._lock:
            self._finished = [client for client in self._finished if len(client)]

    def _connected(self) -> Producer | None:
        with self._lock:
            if self._producer is None and not self._is_closed:
                self._producer = self._make_or_rest()
            return self._producer

    def _make_or_rest(self) -> Producer:
        """Make a client. Raises what has ended the last one, where that was replaced a moment ago."""
        if self._trouble is not None:
            now_s = self._clock()
            if now_s < self._rests_until_at_s:
                raise self._trouble.with_traceback(None)
            self._rests_until_at_s = now_s + REST_S
        try:
            return self._make_producer()
        except _GIVEN_UP as failure:
            self._trouble = failure
            raise

    def _offer(self, producer: Producer, key: bytes, value: bytes, note: Note) -> None:
        try:
            producer.produce(self._topic, key=key, value=value, on_delivery=note)
        except BufferError:  # perhaps of confirmed ones whose answers were not taken yet
            producer.poll(0)
            producer.produce(self._topic, key=key, value=value, on_delivery=note)

    def _note(self, producer: Producer, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._replace_if_fatal(producer, error)
            self.given_up.count(message.key(), error)

    def _note_done(self, producer: Producer, jobs: int, error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            self._replace_if_fatal(producer, error)
            self.given_up.count_done(jobs, error)

    def _replace_if_finished(self, producer: Producer | None, failure: Exception) -> None:
        if producer is not None and isinstance(failure, KafkaException):
            self._replace_if_fatal(producer, as_error(failure))

    def _replace_if_fatal(self, producer: Producer, error: KafkaError) -> None:
        """Give a client up that is of no more use: the next event gets another one."""
        if not is_fatal(error):
            return
        with self._lock:
            if self._producer is producer:  # else another thread has replaced it, and the present one is sound
                self._producer, self._trouble = None, KafkaException(error)
                self._finished.append(producer)


def _take_answers(take: Callable[[float], int], within_s: float) -> int:
    """Take the answers of a client; one that has failed for good raises that once, and its next answers have it."""
    try:
        return take(within_s)
    except KafkaException:
        return 1


class GivenUp:
    """Counts the events that were given up, and logs them now and then.

    An event of jobs that are done counts for each of them. `total` counts since the start.
    """

    def __init__(self, topic: str, queue: str) -> None:
        self._topic, self._queue = topic, queue
        self._lock = threading.Lock()
        self._events = self._done_jobs = 0  # that were not logged yet
        self._last_job_id = self._event_cause = self._done_cause = ""
        self._log_pace = LogPace()
        self.total = 0

    def count(self, key: bytes | str | None, cause: object) -> None:
        """Count one event; the key is the id of its job, and empty where it has none."""
        with self._lock:
            self.total += 1
            self._events += 1
            self._last_job_id = key.decode("utf-8", "replace") if isinstance(key, bytes) else key or ""
            self._event_cause = _in_words(cause)
        self.report_if_due()

    def count_done(self, jobs: int, cause: object) -> None:
        """Count so many jobs that are done and that no event tells of."""
        with self._lock:
            self.total += jobs
            self._done_jobs += jobs
            self._done_cause = _in_words(cause)
        self.report_if_due()

    def report_if_due(self) -> None:
        """Log what was not logged, unless the last report is too recent."""
        if (self._events or self._done_jobs) and self._log_pace.try_acquire(time.monotonic()):
            self.report()

    def report(self) -> None:
        """Log what was not logged, if there is any."""
        with self._lock:
            events, self._events = self._events, 0
            done_jobs, self._done_jobs = self._done_jobs, 0
            job_id, event_cause, done_cause = self._last_job_id, self._event_cause, self._done_cause
        if events:
            self._report_events(events, job_id, event_cause)
        if done_jobs:
            _LOGGER.warning(
                "there is no event on %s of %s: %s. Done jobs stay done, but their history there has gaps",
                self._topic, counted(done_jobs, "done job"), done_cause,
                extra={log_keys.QUEUE: self._queue, log_keys.COUNT: done_jobs},
            )  # fmt: skip

    def _report_events(self, count: int, job_id: str, cause: str) -> None:
        last = f", the last one of job {job_id}" if job_id else ""
        fields = {log_keys.QUEUE: self._queue, log_keys.COUNT: count}
        _LOGGER.warning(
            "the worker has given up %s that could not be written to %s%s: %s. Jobs go on, but their history there has "
            "gaps",
            counted(count, "event"), self._topic, last, cause,
            extra={**fields, log_keys.JOB_ID: job_id} if job_id else fields,
        )  # fmt: skip


def _in_words(cause: object) -> str:
    """Why an event could not be written, and how to fix that."""
    if isinstance(cause, BufferError | KafkaException):
        cause = as_error(cause)
    if not isinstance(cause, KafkaError):
        return str(cause)
    return with_fix(cause)
