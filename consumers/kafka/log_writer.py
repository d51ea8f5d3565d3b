"""`LogWriter`: writes the records of a log and answers each of them, though a client may fail for good under them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from ...topology.cluster.kafka_errors import as_error
from .lazy_producer import LazyProducer

LAST_S: Final = 1.0

OnWritten = Callable[[KafkaError | None, Message | None], None]
"""Takes the answer: the error, or the record as the brokers have it."""


class LogWriter:
    """For one thread. A client that has failed for good is replaced for the next record."""

    def __init__(self, make_producer: Callable[[], Producer], topic: str) -> None:
        self._topic = topic
        self._producer = LazyProducer(make_producer, self._note_finished)
        self._unanswered: dict[int, OnWritten] = {}
        self._number = 0
        self._fatal: KafkaError | None = None

    def write(self, value: bytes, on_written: OnWritten | None, partition: int = 0) -> None:
        """Write a record; never raises an error of Kafka.

        Args:
            on_written: called once, in this call or in a later one: the brokers may have a record that failed.
        """
        self._number += 1
        number = self._number
        try:
            if on_written is None:
                self._producer.client().produce(self._topic, value, partition=partition)
                return
            self._unanswered[number] = on_written
            note = partial(self._note, number)
            self._producer.client().produce(self._topic, value, partition=partition, on_delivery=note)
        except (BufferError, KafkaException) as failed:
            self._note(number, as_error(failed), None)

    def poll(self) -> None:
        """Take the brokers' answers.

        Raises:
            KafkaException: the client has failed for good. All that it had not answered has failed.
        """
        self._producer.poll()
        fatal, self._fatal = self._fatal, None
        if fatal is not None:
            raise KafkaException(fatal)

    def close(self) -> None:
        """Let the last ones be confirmed, and disconnect."""
        self._producer.close(LAST_S)

    def _note(self, number: int, error: KafkaError | None, message: Message | None) -> None:
        on_written = self._unanswered.pop(number, None)
        if on_written is not None:
            on_written(error, message)
        if error is not None:
            self._producer.drop_if_fatal(error)

    def _note_finished(self, error: KafkaError) -> None:
        self._fatal = error
        unanswered, self._unanswered = self._unanswered, {}
        for on_written in unanswered.values():
            on_written(error, None)
