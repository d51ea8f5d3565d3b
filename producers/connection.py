"""`Connection`, one librdkafka producer that calls back with what became of each record, and those of a `Publisher`."""

from __future__ import annotations

import atexit
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final
from weakref import WeakSet

from confluent_kafka import KafkaError, KafkaException, Message

from ..topology.cluster.kafka_errors import as_error, with_fix
from ..topology.cluster.settings import Option, principal_of
from ..topology.counts import counted
from .client import Outage, connect
from .delivery import delivery_error, start_error
from .errors import ClientNotStarted, UnreachableAtStart
from .record import BuiltRecord

if TYPE_CHECKING:
    from confluent_kafka.admin._metadata import TopicMetadata

_LOGGER = logging.getLogger("stoker.producers")

OnDelivery = Callable[[KafkaError | None, Message], None]
"""librdkafka's callback."""
_JOIN_S: Final = 5.0
_POLL_S: Final = 0.1
_IDLE_POLL_S: Final = 1.0


class Connection:
    """A client together with what is known about its brokers; any thread of the process that made it may use it.

    Args:
        config: librdkafka's options, of `producer_config`.
        outage: takes note of the client's errors; None makes the one of a producer.

    Raises:
        ClientNotStarted: the machine has no thread or memory left for it.
    """

    def __init__(self, config: Mapping[str, Option], outage: Outage | None = None) -> None:
        self.outage = outage or Outage(str(config["bootstrap.servers"]), principal=principal_of(config))
        try:
            self._client = connect(config, self.outage)
        except KafkaException as lack:
            raise ClientNotStarted(with_fix(as_error(lack))) from lack
        self._reading_threads: Final[set[int]] = set()

    @property
    def is_reporting(self) -> bool:
        """Whether the calling thread is in a callback of this client."""
        return threading.get_ident() in self._reading_threads

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
        """Ask the brokers for the leaders of the topic's partitions; returns how many partitions there are.

        Raises:
            EnqueueError: they do not answer in time, or a partition has no leader, or they refuse.
        """
        found = self._describe(topic, timeout_s)
        leaderless = sum(partition.leader < 0 for partition in found.partitions.values())
        if leaderless:
            raise UnreachableAtStart(
                "", topic, f"topic {topic} has {counted(leaderless, 'partition')} without a leader; see to its brokers"
            )
        return len(found.partitions)

    def count_partitions(self, topic: str, timeout_s: float) -> int:
        """How many partitions a topic has, with or without leaders.

        Raises:
            EnqueueError: the brokers do not answer in time, or they refuse.
        """
        return len(self._describe(topic, timeout_s).partitions)

    def _describe(self, topic: str, timeout_s: float) -> TopicMetadata:
        try:
            found: TopicMetadata = self._client.list_topics(topic, timeout_s).topics[topic]
        except KafkaException as failure:
            raise start_error(failure.args[0], topic, self.outage) from failure
        if found.error is not None:
            raise start_error(found.error, topic, self.outage)
        return found

    def answers(self, timeout_s: float) -> bool:
        """Whether a broker answers in time."""
        try:
            self._client.list_topics(timeout=timeout_s)
        except KafkaException:
            return False
        return True

    def poll(self, timeout_s: float) -> None:
        """Wait for delivery reports, at most so long, and call their callbacks; do nothing in such a callback."""
        with self._reading() as may_read:
            if may_read:
                self._client.poll(timeout_s)

    @contextmanager
    def _reading(self) -> Iterator[bool]:
        """Whether the calling thread may read reports: confluent-kafka aborts a process that does so in a callback."""
        if self.is_reporting:
            yield False
            return
        self._reading_threads.add(threading.get_ident())
        try:
            yield True
        except KafkaException as failure:  # the client raises a fatal error from whatever is called next, once
            self._note_fatal(failure)
        finally:
            self._reading_threads.discard(threading.get_ident())

    def _note_fatal(self, failure: KafkaException) -> None:
        error: KafkaError = failure.args[0]
        if not error.fatal() and error.code() != KafkaError._FATAL:
            raise failure
        self.outage.fatal = error

    def flush(self, timeout_s: float) -> int:
        """Wait until all is reported; the number of records that are not when the time is over."""
        for _ in range(2):  # after a fatal error, what is left ends soon
            with self._reading() as may_read:
                return self._client.flush(timeout_s) if may_read else self.in_flight
        return self.in_flight

    def abandon(self) -> None:
        """Give up on what is unconfirmed; each record's callback is called with an error before this returns."""
        self._client.purge()
        self.flush(1.0)


class Connections:
    """The connections of one producer, and the thread that reads the brokers' answers on them.

    Single jobs go over the live one. Each bulk is lent one of its own, whose answers the bulk reads. The thread starts
    with the first connection.

    Args:
        config: librdkafka's options of the live connection, of `producer_config`; `bulk_config` of the lent ones.
        at_exit: is called when the program ends before `end`.
    """

    def __init__(
        self, config: Mapping[str, Option], bulk_config: Mapping[str, Option], at_exit: Callable[[], None]
    ) -> None:
        self._config, self._bulk_config, self._at_exit = config, bulk_config, at_exit
        self._lock: Final = threading.Lock()
        self._live: Connection | None = None
        self._beside: list[Connection] = []
        self._lent: WeakSet[Connection] = WeakSet()
        self._reader: threading.Thread | None = None
        self._next_idle_at_s = 0.0
        self._is_ended = False

    @property
    def is_reader(self) -> bool:
        """Whether the calling thread is the one that reads the answers, or another that is in a callback of one."""
        live = self._live
        return threading.current_thread() is self._reader or (live is not None and live.is_reporting)

    def live(self) -> Connection:
        """The connection for single jobs."""
        connection = self._live
        return connection if connection is not None and not connection.is_broken else self._replace()

    def _replace(self) -> Connection:
        """Connect for the first time, or anew after librdkafka gave up on the client; the reader drains the old one."""
        with self._lock:
            old = self._live
            if old is not None and not old.is_broken:
                return old
            if old is not None:
                _LOGGER.warning(
                    "the producer's Kafka client has failed for good (%s); the producer makes another one. Jobs that "
                    "the old one had not confirmed end with an error, mostly DeliveryFailed: enqueue them again with "
                    "the same job ids", old.outage.fatal,
                )  # fmt: skip
                self._beside.append(old)
            self._live = Connection(self._config)
            if self._reader is None:
                self._start_reader()
            return self._live

    def _start_reader(self) -> None:
        self._reader = threading.Thread(target=self._read, name="stoker-producer", daemon=True)
        self._reader.start()
        atexit.register(self._at_exit)

    def _read(self) -> None:
        while not self._is_ended:
            try:
                self._read_some()
            except BaseException:  # also a callback's sys.exit: without this thread each later call would wait in vain
                _LOGGER.exception("the producer failed at a report of the brokers, and goes on with the next one")
                time.sleep(_POLL_S)

    def _read_some(self) -> None:
        connection = self._live
        if connection is not None:
            connection.poll(_POLL_S)
        if time.monotonic() >= self._next_idle_at_s:
            self._next_idle_at_s = time.monotonic() + _IDLE_POLL_S
            self._read_beside()

    def _read_beside(self) -> None:
        """Serve the logs of idle bulk connections, and the last reports of broken ones until there are none."""
        with self._lock:
            beside = tuple(self._beside)
        for connection in beside:  # outside the lock, since a report may end in a caller that publishes
            connection.poll(0)
        with self._lock:
            self._beside = [known for known in self._beside if not known.is_broken or known.in_flight]

    def lend(self) -> Connection:
        """Lend a connection for one bulk, batched for throughput; it reports failures only. Take it back after."""
        with self._lock:
            sound = [connection for connection in self._beside if not connection.is_broken]
            if sound:
                self._beside.remove(sound[0])
                self._lent.add(sound[0])
                return sound[0]
        self.live()  # starts the reader, which serves the lent connection's logs when it is back
        lent = Connection(self._bulk_config)
        with self._lock:
            self._lent.add(lent)
        return lent

    def take_back(self, connection: Connection) -> None:
        """Keep a lent connection, empty or nearly so, for the next bulk; one is enough."""
        with self._lock:
            self._lent.discard(connection)
            if not connection.is_broken and not any(not known.is_broken for known in self._beside):
                self._beside.append(connection)

    def bulks_in_flight(self) -> int:
        """How many records are in flight on all but the live connection."""
        with self._lock:
            used = [*self._beside, *self._lent]
        return sum(connection.in_flight for connection in used)

    def flush(self, timeout_s: float) -> int:
        """Wait until all single jobs are reported; the number of those that are not when the time is over."""
        connection = self._live
        return 0 if connection is None else connection.flush(timeout_s)

    def end(self) -> None:
        """Give up on what is unconfirmed, and end the thread."""
        self._is_ended = True
        atexit.unregister(self._at_exit)
        for connection in (self._live, *self._beside):
            if connection is not None and connection.in_flight:
                connection.abandon()
        if self._reader is not None and self._reader is not threading.current_thread():
            self._reader.join(_JOIN_S)
