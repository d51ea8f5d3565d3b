"""`OrderWriter`: writes orders to the control topic and to the audit topic, in one Kafka transaction.

An order without its trace in the audit topic, or the reverse, is never seen. Each writer has a transactional id of its
own, so that operators do not shut each other out. An order may be written twice, with the same order id: it stands
once.
"""

from __future__ import annotations

import time
import uuid
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from ...schemas.control_records import ControlOrder, encode_order
from ...topology import ClusterSettings, NotAuthorized, Pipeline
from ...topology.cluster.kafka_errors import FORBIDDEN
from ...topology.wire import headers as wire
from ...topology.wire.orders import LIFTS, order_key
from ..client import Outage, connect, producer_config
from .errors import OrderUnconfirmed
from .log_reader import PARTITION

TRANSACTION_TIMEOUT_S: Final = 10.0
"""How long the brokers keep a killed writer's transaction open, and later orders wait behind it."""
WITHIN_S: Final = 30.0
_CALL_S: Final = 10.0
_STEP_S: Final = 0.05


class OrderWriter:
    """Writes orders, some at a time. Not thread-safe; connects with the first one."""

    def __init__(self, pipeline: Pipeline, cluster: ClusterSettings, *, within_s: float = WITHIN_S) -> None:
        """Prepare.

        Raises:
            SettingRefused: the cluster's options weaken a promise.
        """
        self._pipeline, self._cluster, self._within_s = pipeline, cluster, within_s
        self._transactional_id = f"{pipeline.control_topic}.{uuid.uuid4().hex}"
        self._producer: Producer | None = None
        self._offsets: list[int] = []
        self._at_s = 0.0
        self._failure: KafkaError | None = None
        self._deadline_s = 0.0

    def write(self, orders: Sequence[ControlOrder]) -> tuple[list[int], float]:
        """Write the orders in one transaction; all of them stand, or none.

        Returns:
            Their offsets on the control topic, and the brokers' time, in epoch seconds.

        Raises:
            OrderUnconfirmed: the brokers did not confirm it in time.
            NotAuthorized: they forbid it.
        """
        self._deadline_s = time.monotonic() + self._within_s
        is_committing = False
        try:
            producer = self._connected()
            self._repeat(producer.begin_transaction)
            self._produce(producer, orders)
            is_committing = True
            self._repeat(lambda: producer.commit_transaction(_CALL_S))
        except (KafkaException, TimeoutError) as failed:
            self._drop()
            raise self._in_words(orders, failed, is_perhaps_ordered=is_committing) from failed
        return self._offsets, self._at_s

    def close(self) -> None:
        """Disconnect."""
        self._drop()

    def _connected(self) -> Producer:
        if self._producer is None:
            config = {
                **producer_config(self._cluster, linger_ms=0, retry_backoff_ms=20, client_id="stoker-control"),
                "transactional.id": self._transactional_id,
                "transaction.timeout.ms": int(TRANSACTION_TIMEOUT_S * 1_000),
            }
            servers = self._cluster.bootstrap_servers
            producer = connect(config, Outage(servers, "control", "the order waits for them for a while"))
            self._producer = producer
            self._repeat(lambda: producer.init_transactions(_CALL_S))
        return self._producer

    def _produce(self, producer: Producer, orders: Sequence[ControlOrder]) -> None:
        """Orders first: their offsets go into the audit topic."""
        self._offsets, self._failure = [], None
        values = [encode_order(order) for order in orders]
        for order, value in zip(orders, values, strict=True):
            lifts = order.verb in LIFTS
            self._send(
                producer,
                self._pipeline.control_topic,
                order_key(order).encode(),
                None if lifts else value,
                [(wire.ORDER, value)] if lifts else [],
                self._note_order,
            )
        self._await_all(producer)
        for order, value, offset in zip(orders, values, self._offsets, strict=True):
            headers = [(wire.ORDER_OFFSET, b"%d" % offset)]
            topic, key = self._pipeline.audit_topic, order_key(order).encode()
            self._send(producer, topic, key, value, headers, self._note)
        self._await_all(producer)

    def _send(
        self,
        producer: Producer,
        topic: str,
        key: bytes,
        value: bytes | None,
        headers: list[tuple[str, bytes]],
        note: Callable[[KafkaError | None, Message], None],
    ) -> None:
        while True:
            try:
                producer.produce(topic, value, key, PARTITION, headers=list(headers), on_delivery=note)
            except BufferError:
                producer.poll(_STEP_S)
                self._check_time()
            else:
                return

    def _note_order(self, error: KafkaError | None, message: Message) -> None:
        self._note(error, message)
        if error is None:
            self._offsets.append(message.offset() or 0)
            self._at_s = message.timestamp()[1] / 1_000

    def _note(self, error: KafkaError | None, _message: Message) -> None:
        self._failure = self._failure or error

    def _await_all(self, producer: Producer) -> None:
        while len(producer):
            producer.poll(_STEP_S)
            self._check_time()
        if self._failure is not None:
            raise KafkaException(self._failure)

    def _check_time(self) -> None:
        if time.monotonic() > self._deadline_s:
            raise TimeoutError(f"no answer in {self._within_s:g} s")

    def _repeat(self, call: Callable[[], None]) -> None:
        """Make a call of the transaction API, and repeat it while its error allows that."""
        while True:
            try:
                return call()
            except KafkaException as failed:
                if not failed.args[0].retriable() or time.monotonic() > self._deadline_s:
                    raise

    def _drop(self) -> None:
        """Undo what is not committed, and forget the client: the next order gets another one."""
        producer, self._producer = self._producer, None
        if producer is None:
            return
        for step in (lambda: producer.abort_transaction(1.0), producer.purge, producer.close):
            with suppress(KafkaException), warnings.catch_warnings():  # a client that is finished can do nothing of it
                warnings.simplefilter("ignore", RuntimeWarning)
                step()

    def _in_words(
        self, orders: Sequence[ControlOrder], failed: KafkaException | TimeoutError, *, is_perhaps_ordered: bool
    ) -> Exception:
        error = failed.args[0]
        if isinstance(error, KafkaError) and error.code() in FORBIDDEN:
            missing = [
                ("Write", f"topic {self._pipeline.control_topic}"),
                ("Write", f"topic {self._pipeline.audit_topic}"),
            ]
            if error.code() == KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED:
                missing = [("Write", f"transactional-id {self._pipeline.control_topic}.*")]
            return NotAuthorized(self._cluster.principal, missing)
        cause = error.str() if isinstance(error, KafkaError) else str(failed)
        return OrderUnconfirmed(
            dict.fromkeys(order.order_id for order in orders), cause, is_perhaps_ordered=is_perhaps_ordered
        )
