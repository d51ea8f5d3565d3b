"""One librdkafka producer: takes records while it has room, and calls back with what became of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from confluent_kafka import KafkaError, KafkaException, Message

from ..topology.cluster.settings import Option, principal_of
from .client import Outage, connect
from .delivery import delivery_error, start_error
from .errors import UnreachableAtStart
from .record import BuiltRecord

OnDelivery = Callable[[KafkaError | None, Message], None]
"""librdkafka's callback."""


class Connection:
    """A client together with what is known about its brokers; any thread of the process that made it may use it.

    Args:
        config: librdkafka's options, of `producer_config`.
        outage: takes note of the client's errors; None makes the one of a producer.
    """

    def __init__(self, config: Mapping[str, Option], outage: Outage | None = None) -> None:
        self.outage = outage or Outage(str(config["bootstrap.servers"]), principal=principal_of(config))
        self._client = connect(config, self.outage)

    @property
    def is_broken(self) -> bool:
        """Whether librdkafka has given up for good on this client, so that only another can publish."""
        return self.outage.fatal is not None

    @property
    def in_flight(self) -> int:
        """How many records are unconfirmed, or confirmed and not yet reported by `poll`."""
        return len(self._client)

    def offer(self, record: BuiltRecord, on_delivery: OnDelivery) -> bool:
        """Hand a record to librdkafka, unless its buffer is full; `on_delivery` is called by a later `poll`.

        Returns:
            False: the buffer is full and the record was not taken.

        Raises:
            EnqueueError: librdkafka refuses the record at once; the class is the reason.
        """
        topic, key, value, headers, partition, job_id = record
        try:
            self._client.produce(topic, value, key, partition, on_delivery=on_delivery, headers=headers)  # type: ignore[arg-type]  # its stub wants an invariant list of bytes, str or None
        except BufferError:
            return False
        except KafkaException as refusal:
            error: KafkaError = refusal.args[0]
            if error.fatal() or error.code() == KafkaError._FATAL:
                self.outage.fatal = error  # no event reports it if the client was broken before
            raise delivery_error(error, job_id, topic, self.outage) from refusal
        return True

    def ask(self, topic: str, timeout_s: float) -> int:
        """Ask the brokers for the leaders of the topic's partitions; gives how many partitions there are.

        Raises:
            EnqueueError: they do not answer in time, or a partition has no leader, or they refuse.
        """
        try:
            found = self._client.list_topics(topic, timeout_s).topics[topic]
        except KafkaException as failure:
            raise start_error(failure.args[0], topic, self.outage) from failure
        if found.error is not None:
            raise start_error(found.error, topic, self.outage)
        leaderless = sum(partition.leader < 0 for partition in found.partitions.values())
        if leaderless:
            raise UnreachableAtStart(
                "", topic, f"{leaderless} partitions of topic {topic} have no leader; see to its brokers"
            )
        return len(found.partitions)

    def answers(self, timeout_s: float) -> bool:
        """Whether a broker answers in time."""
        try:
            self._client.list_topics(timeout=timeout_s)
        except KafkaException:
            return False
        return True

    def poll(self, timeout_s: float) -> None:
        """Wait for delivery reports, at most so long, and call their callbacks."""
        try:
            self._client.poll(timeout_s)
        except KafkaException as failure:  # the client raises a fatal error from whatever is called next, once
            self._note_fatal(failure)

    def _note_fatal(self, failure: KafkaException) -> None:
        error: KafkaError = failure.args[0]
        if not error.fatal() and error.code() != KafkaError._FATAL:
            raise failure
        self.outage.fatal = error

    def flush(self, timeout_s: float) -> int:
        """Wait until all is reported; the number of records that are not when the time is over."""
        try:
            return self._client.flush(timeout_s)
        except KafkaException as failure:
            self._note_fatal(failure)
            return self._client.flush(timeout_s)  # what is left ends soon, with a fatal error

    def abandon(self) -> None:
        """Give up on what is unconfirmed; each record's callback is called with an error before this returns."""
        self._client.purge()
        self._client.flush(1.0)
