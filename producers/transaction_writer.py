"""`TransactionWriter`: writes some records in one Kafka transaction, so that all of them are there, or none.

Of all writers with one transactional id only the last one that has connected can write: connecting ends what an
earlier one has left open, and shuts it out, however long it was frozen.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from ..schemas.own_records.control_records import RecordPlace
from ..topology import ClusterSettings
from ..topology.cluster.kafka_errors import FENCED, FORBIDDEN, RECORD_FAULTS
from ..topology.wire.headers import HeaderList
from .client import Outage, connect, producer_config, transactional
from .delivery import why_unconfirmed

TRANSACTION_TIMEOUT_S: Final = 10.0
"""How long the brokers keep a killed writer's transaction open, and readers of its partitions wait behind it."""
WITHIN_S: Final = 20.0
_CALL_S: Final = 10.0
_STEP_S: Final = 0.05

Records = Sequence["TransactionRecord"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionRecord:
    """One record to be written.

    Attributes:
        partition: -1 lets the client choose it by the key.
    """

    topic: str
    key: bytes | None
    value: bytes | None
    headers: HeaderList
    partition: int = 0


class TransactionFailed(Exception):
    """A transaction is not known to be committed.

    Attributes:
        is_perhaps_committed: whether it may be: what stands is on the topics, once the next writer has connected.
        is_fenced: whether another writer has taken over.
        is_forbidden: whether a right is missing.
        is_of_a_record: whether one certain record cannot be written.
    """

    def __init__(self, errors: Sequence[KafkaError], cause: str, *, is_perhaps_committed: bool) -> None:
        super().__init__(cause)
        codes = {error.code() for error in errors}
        self.is_perhaps_committed = is_perhaps_committed
        self.is_fenced = bool(codes & FENCED)
        self.is_forbidden = bool(codes & FORBIDDEN)
        self.is_of_a_record = bool(codes & RECORD_FAULTS)
        self.codes = codes


class Withdrawn(Exception):
    """The caller has taken back what it was writing: the transaction is undone, and the writer can go on."""


class TransactionWriter:
    """Writes transactions under one transactional id. Not thread-safe.

    Attributes:
        written_at_s: when the brokers took the last record, by their clock, in epoch seconds.
    """

    def __init__(
        self,
        cluster: ClusterSettings,
        transactional_id: str,
        outage: Outage,
        *,
        client_id: str,
        within_s: float = WITHIN_S,
    ) -> None:
        self._cluster, self.transactional_id, self._outage = cluster, transactional_id, outage
        self._client_id, self._within_s = client_id, within_s
        self._call_s = min(_CALL_S, within_s)
        self.written_at_s = 0.0
        self._producer: Producer | None = None
        self._failures: list[KafkaError] = []
        self._deadline_at_s = 0.0
        self._is_committing = False

    @property
    def is_connected(self) -> bool:
        """Whether it is connected, as far as it knows."""
        return self._producer is not None

    def connect(self) -> None:
        """Shut out all earlier writers of the id.

        Raises:
            TransactionFailed: the brokers did not answer, or refuse.
            SettingRefused: the cluster's options weaken a guarantee.
        """
        self._begin()
        if self._producer is not None:
            return
        plain = producer_config(self._cluster, linger_ms=0, retry_backoff_ms=20, client_id=self._client_id)
        config = transactional(plain, self.transactional_id, TRANSACTION_TIMEOUT_S)
        with self._in_words():
            producer = self._producer = connect(config, self._outage)
            self._repeat(lambda: producer.init_transactions(self._call_s))

    def partitions(self, topic: str) -> int:
        """How many partitions a topic has.

        Raises:
            TransactionFailed: the brokers did not answer, or there is no such topic.
        """
        self._begin()
        with self._in_words():
            found = self._connected().list_topics(topic, _CALL_S).topics[topic]
            if found.error is not None:
                raise KafkaException(found.error)
            return len(found.partitions)

    def write(
        self, records: Records, then: Callable[[list[RecordPlace]], Records] = lambda _places: ()
    ) -> list[RecordPlace]:
        """Write records in one transaction.

        Args:
            then: makes further records of the places of the first ones; it may raise `Withdrawn`.

        Returns:
            The places of all.

        Raises:
            Withdrawn: by `then`; nothing was written.
            TransactionFailed: they are perhaps not written. Unless `is_of_a_record`, the writer has disconnected, and
                does not connect again by itself: another one may have written meanwhile.
        """
        self._begin()
        producer = self._connected()
        with self._in_words():
            self._repeat(producer.begin_transaction)
            places = self._produce(producer, records)
            places += self._produce(producer, self._further(then, places))
            self._is_committing = True
            self._repeat(lambda: producer.commit_transaction(self._call_s))
        return places

    def _further(self, then: Callable[[list[RecordPlace]], Records], places: list[RecordPlace]) -> Records:
        try:
            return then(places)
        except Withdrawn:
            if not self._has_aborted():
                self.close()
            raise

    def close(self) -> None:
        """Disconnect; what is not committed is undone."""
        producer, self._producer = self._producer, None
        if producer is None:
            return
        for step in (lambda: producer.abort_transaction(1.0), producer.purge, producer.close):
            with suppress(KafkaException), warnings.catch_warnings():  # a client that is finished can do nothing of it
                warnings.simplefilter("ignore", RuntimeWarning)
                step()

    def _begin(self) -> None:
        self._failures, self._is_committing = [], False
        self._deadline_at_s = time.monotonic() + self._within_s

    def _connected(self) -> Producer:
        if self._producer is None:
            raise TransactionFailed([], "the writer is not connected", is_perhaps_committed=False)
        return self._producer

    def _produce(self, producer: Producer, records: Records) -> list[RecordPlace]:
        places: list[RecordPlace | None] = [None] * len(records)
        for number, record in enumerate(records):
            self._send(producer, record, self._noting(places, number, record.topic))
        while len(producer):
            producer.poll(_STEP_S)
            self._check_time()
        if self._failures:
            raise KafkaException(self._failures[0])
        return [place for place in places if place is not None]

    def _noting(
        self, places: list[RecordPlace | None], number: int, topic: str
    ) -> Callable[[KafkaError | None, Message], None]:
        def note(error: KafkaError | None, message: Message) -> None:
            fault = why_unconfirmed(error, message)
            if fault is not None:
                self._failures.append(fault)
            else:
                places[number] = RecordPlace(
                    topic=topic, partition=message.partition() or 0, offset=message.offset() or 0
                )
                self.written_at_s = message.timestamp()[1] / 1_000

        return note

    def _send(
        self, producer: Producer, record: TransactionRecord, note: Callable[[KafkaError | None, Message], None]
    ) -> None:
        while True:
            try:
                producer.produce(
                    record.topic,
                    record.value,
                    record.key,
                    record.partition,
                    headers=list(record.headers),
                    on_delivery=note,
                )
                producer.poll(0)
            except BufferError:
                producer.poll(_STEP_S)
                self._check_time()
            else:
                return

    def _check_time(self) -> None:
        if time.monotonic() > self._deadline_at_s:
            raise TimeoutError(f"no answer in {self._within_s:g} s")

    def _repeat(self, call: Callable[[], None]) -> None:
        """Make a call of the transaction API, and repeat it while its error allows that."""
        while True:
            try:
                return call()
            except KafkaException as failed:
                if not failed.args[0].retriable() or time.monotonic() > self._deadline_at_s:
                    raise

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        try:
            yield
        except (KafkaException, TimeoutError) as error:
            raise self._failed(error) from error

    def _failed(self, error: KafkaException | TimeoutError) -> TransactionFailed:
        """Disconnect, and put into words what has failed."""
        cause = error.args[0]
        errors = [*self._failures, *([cause] if isinstance(cause, KafkaError) else [])]
        # A record that is refused takes the others of its batch along, as purged; it is the one to be named.
        named = next((found for found in errors if found.code() in RECORD_FAULTS | FORBIDDEN), cause)
        text = named.str() if isinstance(named, KafkaError) else str(named)
        failed = TransactionFailed(errors, text, is_perhaps_committed=self._is_committing)
        if not (failed.is_of_a_record and self._has_aborted()):
            self.close()
        return failed

    def _has_aborted(self) -> bool:
        """Undo the transaction; whether the writer can go on after it."""
        producer = self._producer
        if producer is None or self._is_committing:
            return False
        try:
            self._repeat(lambda: producer.abort_transaction(self._call_s))
        except KafkaException:
            return False
        return True
