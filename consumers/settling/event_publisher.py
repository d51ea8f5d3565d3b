"""`EventPublisher`: puts events on their topic by a client of its own, for which no job ever waits.

Events are for the eye. Their topic may be gone, without a leader or slow: outcomes are settled meanwhile as ever, since
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
from ...schemas.job_events import JobEvent, encode_event
from ...topology.cluster.kafka_errors import Remedy, as_error, is_fatal, remedy_of
from .. import log_keys

_LOGGER = logging.getLogger("stoker.events")

REPORT_INTERVAL_S: Final = 60.0
"""How often at most given up events are logged."""

ANSWERS_S: Final = 0.5
"""How long the client may take to name what was purged: its threads for the brokers are asked first."""
_GIVEN_UP: Final = (BufferError, KafkaException, SettingRefused, TypeError, ValueError, LookupError, OverflowError)
"""No room, no topic, no client, or no event that fits its schema."""


class EventPublisher:
    """Publishes the events of one queue; any thread may call it, and no call waits but `close`.

    The client is made for the first event.
    """

    def __init__(self, topic: str, queue: str, make_producer: Callable[[], Producer]) -> None:
        self._topic = topic
        self._make_producer = make_producer
        self._lock = threading.Lock()
        self._producer: Producer | None = None
        self._is_closed = False
        self.given_up = GivenUp(topic, queue)

    def publish(self, event: JobEvent) -> None:
        """Send an event, or give it up; never raises, and never waits for a broker."""
        key = event.subject.job_id.encode("utf-8", "backslashreplace")
        try:
            value = encode_event(event)
            producer = self._connected()
            if producer is not None:
                self._offer(producer, key, value)
        except _GIVEN_UP as failure:
            self.given_up.note(key, failure)

    def publish_many(self, key: bytes, value: bytes, jobs: int) -> None:
        """Send an encoded event of several jobs, or give it up; never raises, and never waits for a broker."""
        try:
            producer = self._connected()
            if producer is not None:
                self._offer(producer, key, value, jobs)
        except _GIVEN_UP as failure:
            self.given_up.note(key, failure, jobs)

    def poll(self) -> None:
        """Take the brokers' answers, so that what is confirmed makes room; to be called every second or so."""
        producer = self._producer
        if producer is not None:
            producer.poll(0)
        self.given_up.report_if_due()

    def close(self, within_s: float) -> None:
        """Let what was sent be confirmed, for so long at the most, and give up the rest."""
        with self._lock:
            producer, self._producer, self._is_closed = self._producer, None, True
        if producer is not None and producer.flush(within_s):
            producer.purge()
            producer.flush(ANSWERS_S)
        self.given_up.report()

    def _connected(self) -> Producer | None:
        with self._lock:
            if self._producer is None and not self._is_closed:
                self._producer = self._make_producer()
            return self._producer

    def _offer(self, producer: Producer, key: bytes, value: bytes, jobs: int = 1) -> None:
        note = self._note if jobs == 1 else partial(self._note, jobs=jobs)
        try:
            producer.produce(self._topic, key=key, value=value, on_delivery=note)
        except BufferError:  # perhaps of confirmed ones that nobody has taken note of
            producer.poll(0)
            producer.produce(self._topic, key=key, value=value, on_delivery=note)

    def _note(self, error: KafkaError | None, message: Message, *, jobs: int = 1) -> None:
        if error is None:
            return
        if is_fatal(error):
            self._producer = None  # of no more use: the next event gets another one
        self.given_up.note(message.key(), error, jobs)


class GivenUp:
    """Counts the events that were given up, and logs them now and then.

    `total` counts them since the start.
    """

    def __init__(self, topic: str, queue: str) -> None:
        self._topic, self._queue = topic, queue
        self._lock = threading.Lock()
        self._unreported = 0
        self._last: tuple[object, str] = ("", "")
        self._next_report_at_s = 0.0
        self.total = 0

    def note(self, key: bytes | str | None, cause: object, jobs: int = 1) -> None:
        """Count one of so many jobs; the key names its job, or of several the worker."""
        with self._lock:
            self.total += jobs
            self._unreported += jobs
            self._last = (key.decode("utf-8", "replace") if isinstance(key, bytes) else key, _in_words(cause))
        self.report_if_due()

    def report_if_due(self) -> None:
        """Log what was not logged, unless the last report is too recent."""
        if self._unreported and time.monotonic() >= self._next_report_at_s:
            self.report()

    def report(self) -> None:
        """Log what was not logged, if there is any."""
        with self._lock:
            count, self._unreported = self._unreported, 0
            self._next_report_at_s = time.monotonic() + REPORT_INTERVAL_S
            job_id, cause = self._last
        if count:
            _LOGGER.warning(
                "%d events could not be written to %s and were given up, the last one of job %s: %s. Jobs "
                "go on, but their history there has gaps",
                count, self._topic, job_id, cause,
                extra={log_keys.JOB_ID: job_id, log_keys.QUEUE: self._queue, log_keys.COUNT: count},
            )  # fmt: skip


_FIXES: Final = {
    Remedy.GRANT: "grant the worker the right to write to the topic",
    Remedy.REPAIR: "see that the topic exists (`stoker doctor`)",
    Remedy.WAIT: "see that the topic has a leader",
}


def _in_words(cause: object) -> str:
    """Why an event could not be written, and how to fix that."""
    if isinstance(cause, BufferError | KafkaException):
        cause = as_error(cause)
    if not isinstance(cause, KafkaError):
        return str(cause)
    fix = _FIXES.get(remedy_of(cause))
    return cause.str() if fix is None else f"{cause.str()}; {fix}"
