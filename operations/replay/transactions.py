"""Publish records in Kafka transactions: each batch is there as a whole or not at all, whatever kills the process.

`open()` comes before anything is read that decides what to publish: it ends the transaction that a killed process of
the same name left open, and shuts a living one out. What is read after that is final.

Errors are met as the client's documentation asks: a retriable one repeats the call, one that requires an abort undoes
the batch, any other ends the publisher. An unknown outcome of a commit is never guessed at: the run ends, and the next
one reads what became of it.
"""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Final, NoReturn, Self

from confluent_kafka import KafkaError, KafkaException, Message

from ...producers.client import LARGE_RECORDS, Outage, connect, producer_config, transactional
from ...producers.delivery import why_unconfirmed
from ...topology import ClusterSettings
from ...topology.cluster.admin import Administration
from ...topology.cluster.kafka_errors import FENCED, FORBIDDEN, RECORD_FAULTS
from ...topology.cluster.settings import NotAuthorized
from ...topology.planning.access import missing_rights
from ...topology.planning.rights import Operation, Resource, Right
from ..stored_jobs.errors import Fenced, PublishFailed
from .units import Bookmark, Outgoing, RefusedUnit, Unit

_LOGGER = logging.getLogger(__name__)

TRANSACTION_TIMEOUT_S: Final = 10.0
"""How long the brokers keep a killed process's transaction open, and with it readers of the topic waiting behind it."""
OPEN_TIMEOUT_S: Final = 60.0
_CALL_TIMEOUT_S: Final = 15.0
_ANSWER_S: Final = 1.0
"""How long a client that can do no more may take to answer why."""
_ATTEMPTS: Final = 5


class _BatchUndone(Exception):
    """The batch's transaction was aborted; nothing of it is visible."""

    def __init__(self, error: KafkaError) -> None:
        super().__init__(error.str())
        self.error = error


class TransactionalPublisher:
    """Publishes units in transactions under one transactional id. Not thread-safe."""

    def __init__(self, cluster: ClusterSettings, transactional_id: str, *, bookmark: Bookmark | None = None) -> None:
        """Prepare, without connecting yet.

        Args:
            transactional_id: of all publishers that have this id, only the latest one opened can publish.
            bookmark: where the units' sources are committed to.

        Raises:
            SettingRefused: the cluster's options weaken a guarantee.
            PublishFailed: the client cannot be made for now.
        """
        self.transactional_id, self._bookmark, self._cluster = transactional_id, bookmark, cluster
        self._topics: set[str] = set()
        plain = {**producer_config(cluster, linger_ms=5, retry_backoff_ms=20), **LARGE_RECORDS}
        config = transactional(plain, transactional_id, TRANSACTION_TIMEOUT_S)
        self._max_record_bytes = int(config["message.max.bytes"])
        outage = Outage(
            cluster.bootstrap_servers,
            "the replay",
            "it goes on once they answer, or ends and shows what it has done so far",
        )
        try:
            self._producer = connect(config, outage)
        except KafkaException as lack:
            raise PublishFailed(transactional_id, _error_of(lack).str()) from lack
        self._failures: list[KafkaError] = []
        self._guess: KafkaError | None = None
        self._is_open = False

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._is_open:
            with suppress(KafkaException):  # the next one of this id undoes it all the same
                self._producer.abort_transaction(TRANSACTION_TIMEOUT_S)
        with warnings.catch_warnings(), suppress(KafkaException):
            warnings.simplefilter("ignore", RuntimeWarning)  # of a fenced client, that it cannot abort any more
            self._producer.close()

    def open(self) -> None:
        """Shut out every earlier publisher of this id, and end what it left open.

        Raises:
            PublishFailed: the brokers did not answer, or refuse.
        """
        self._call(lambda: self._producer.init_transactions(_CALL_TIMEOUT_S))

    def publish(self, units: Sequence[Unit]) -> list[RefusedUnit]:
        """Publish a batch in one transaction; when single units of it cannot be taken, in several.

        Returns:
            The units that were left out. Their sources count as passed.

        Raises:
            Fenced: another process took over; nothing of the batch is visible.
            PublishFailed: the outcome of the batch is to be read from the topics.
        """
        fitting, refusals = self._part_by_size(units)
        return refusals + self._publish(fitting) if fitting else refusals

    def _part_by_size(self, units: Sequence[Unit]) -> tuple[list[Unit], list[RefusedUnit]]:
        fitting, refusals = [], []
        for unit in units:
            largest = max((record.size_bytes for record in unit.records), default=0)
            if largest <= self._max_record_bytes:
                fitting.append(unit)
                continue
            reason = f"{largest} bytes exceed the limit of {self._max_record_bytes} bytes for a record"
            refusals.append(RefusedUnit(unit=unit, reason=reason))
            if unit.source is not None:
                fitting.append(Unit(label=unit.label, records=(), source=unit.source))
        return fitting, refusals

    def _publish(self, units: Sequence[Unit]) -> list[RefusedUnit]:
        """Publish; a batch that is undone for one record's sake is halved until that record stands alone."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                self._transact(units)
            except _BatchUndone as undone:
                if undone.error.code() in FORBIDDEN:
                    raise self._ended(undone.error) from undone
                if undone.error.code() in RECORD_FAULTS:
                    return self._isolate(units, undone.error)
                _LOGGER.warning(
                    "the brokers aborted a batch of %s (%s); attempt %d of %d, nothing of it is visible",
                    self.transactional_id, undone, attempt, _ATTEMPTS,
                )  # fmt: skip
                last = undone
            else:
                return []
        raise self._ended(last.error) from last

    def _isolate(self, units: Sequence[Unit], error: KafkaError) -> list[RefusedUnit]:
        if len(units) > 1:
            half = len(units) // 2
            return self._publish(units[:half]) + self._publish(units[half:])
        if units[0].source is not None:
            self._publish([Unit(label=units[0].label, records=(), source=units[0].source)])
        return [RefusedUnit(unit=units[0], reason=error.str())]

    def _transact(self, units: Sequence[Unit]) -> None:
        """One transaction.

        Raises:
            _BatchUndone: it was aborted.
        """
        self._failures.clear()
        self._guess = None
        self._call(self._producer.begin_transaction, _CALL_TIMEOUT_S)
        self._is_open = True
        for record in (record for unit in units for record in unit.records):
            self._produce(record)
        self._commit(units)

    def _produce(self, record: Outgoing) -> None:
        self._topics.add(record.topic)
        while True:
            try:
                self._producer.produce(
                    record.topic,
                    record.value,
                    record.key,
                    record.partition,
                    headers=list(record.headers),
                    on_delivery=self._note_delivery,
                )
                self._producer.poll(0)
            except BufferError:
                self._serve_deliveries()
            except KafkaException as refused:
                self._abort(_error_of(refused))
            else:
                return

    def _serve_deliveries(self) -> None:
        """Let the client report what it has delivered, which makes room in its buffer."""
        try:
            self._producer.poll(0.1)
        except KafkaException as failed:  # the client reports a fatal error from wherever it is polled
            self._abort(_error_of(failed))

    def _note_delivery(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._failures.append(error)
        else:
            self._guess = self._guess or why_unconfirmed(error, message)

    def _commit(self, units: Sequence[Unit]) -> None:
        self._await_deliveries()
        if self._guess is not None:  # the commit would succeed, with a record missing
            self._undo(self._guess)
        offsets = self._bookmark.offsets(units) if self._bookmark is not None else []
        try:
            if self._bookmark is not None and offsets:
                group = self._bookmark.consumer.consumer_group_metadata()
                _repeat(lambda: self._producer.send_offsets_to_transaction(offsets, group, _CALL_TIMEOUT_S))
            self._commit_or_retry()
        except KafkaException as failed:
            self._abort(_error_of(failed))

    def _await_deliveries(self) -> None:
        """Not by `flush`, which goes on to call back after a fatal error, and so ends in a `SystemError`."""
        give_up_at_s = time.monotonic() + _CALL_TIMEOUT_S
        while len(self._producer) and time.monotonic() < give_up_at_s:
            self._serve_deliveries()

    def _commit_or_retry(self) -> None:
        """Commit. A commit that timed out is asked again, as the client demands, never taken for an abort."""
        _repeat(lambda: self._producer.commit_transaction(-1))
        self._is_open = False

    def _abort(self, error: KafkaError) -> None:
        """Undo the batch, if the client allows that.

        Raises:
            _BatchUndone: it was.
            Fenced, PublishFailed: there is nothing to go on with.
        """
        # a single refused record takes the others of its batch along, as purged; it is the one to be found
        cause = next((failure for failure in self._failures if failure.code() in RECORD_FAULTS), error)
        if not (error.txn_requires_abort() or cause.code() in RECORD_FAULTS):
            raise self._ended(error)
        self._undo(cause)

    def _undo(self, cause: KafkaError) -> NoReturn:
        self._call(lambda: self._producer.abort_transaction(-1))
        self._is_open = False
        raise _BatchUndone(cause)

    def _call(self, call: Callable[[], None], within_s: float = OPEN_TIMEOUT_S) -> None:
        """Make a call of the transaction API; what it fails with ends the publisher."""
        try:
            _repeat(call, within_s)
        except KafkaException as failed:
            raise self._ended(_error_of(failed)) from failed

    def _ended(self, error: KafkaError) -> Fenced | PublishFailed:
        code = self._fatal_code() if error.code() == KafkaError._FATAL else error.code()
        codes = {code, *(failure.code() for failure in self._failures)}
        if FENCED & codes:
            return Fenced(self.transactional_id)
        missing = [right for code in codes & FORBIDDEN for right in self._rights_against(code)]
        if missing:
            return PublishFailed(self.transactional_id, str(NotAuthorized(self._cluster.principal, missing)))
        return PublishFailed(self.transactional_id, f"{error.name()}: {error.str()}")

    def _fatal_code(self) -> int:
        """Why the client can do no more: all but its transaction API answer that it cannot, and no more."""
        try:
            self._producer.abort_transaction(_ANSWER_S)
        except KafkaException as failed:
            return _error_of(failed).code()
        return KafkaError._FATAL

    def _rights_against(self, code: int) -> list[tuple[str, str]]:
        """The rights, (operation, resource), whose lack the brokers answer with this code; they name no topic."""
        if code == KafkaError.GROUP_AUTHORIZATION_FAILED and self._bookmark is not None:
            return [("Read", f"group {self._bookmark.group}")]
        if code != KafkaError.TOPIC_AUTHORIZATION_FAILED:
            return [("Write", f"transactional-id {self.transactional_id}")]
        wanted = [Right(operation=Operation.WRITE, resource=Resource.TOPIC, name=topic) for topic in self._topics]
        if self._bookmark is not None:
            wanted.append(Right(operation=Operation.READ, resource=Resource.TOPIC, name=self._bookmark.topic))
        allowed = Administration(self._cluster).allowed([right.name for right in wanted])
        return missing_rights(wanted, allowed)


def _repeat(call: Callable[[], None], within_s: float = OPEN_TIMEOUT_S) -> None:
    """Make a call of the transaction API, and repeat it while its error allows that."""
    deadline_at_s = time.monotonic() + within_s
    while True:
        try:
            return call()
        except KafkaException as failed:
            if not _error_of(failed).retriable() or time.monotonic() > deadline_at_s:
                raise


def _error_of(failed: KafkaException) -> KafkaError:
    error = failed.args[0]
    if not isinstance(error, KafkaError):
        raise failed
    return error
