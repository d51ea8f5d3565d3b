"""`OwnOrders`: writes the orders that a worker gives itself to the control topic, and those for people to the audit."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from ...producers.client import Outage, connect, producer_config
from ...producers.control.log_reader import PARTITION
from ...schemas.own_records.control_records import ControlOrder, encode_order
from ...topology import ClusterSettings, Pipeline
from ...topology.cluster.kafka_errors import as_error, with_fix
from ...topology.wire import headers as wire
from ...topology.wire.orders import LIFTS, order_key
from .. import log_keys
from ..kafka.lazy_producer import LazyProducer

_LOGGER = logging.getLogger("stoker.control")

EXPIRES_MS: Final = 5_000

OnAnswer = Callable[[KafkaError | None], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnOrder:
    """An order of this worker's.

    Attributes:
        is_audited: whether the audit trail keeps it, once it stands.
        on_answer: called by the control thread: with the error where the order could not be written.
    """

    order: ControlOrder
    is_audited: bool
    on_answer: OnAnswer


class OwnOrders:
    """Writes without a transaction, some milliseconds after the call; the control thread alone calls it.

    The audit record follows the order, and is written once: an order stays without it where the worker is killed
    between the two, or the audit topic does not take it, which is logged.
    """

    def __init__(self, cluster: ClusterSettings, pipeline: Pipeline, worker_id: str) -> None:
        self._cluster, self._pipeline, self._worker_id = cluster, pipeline, worker_id
        self._producer = LazyProducer(self._connect, self._fail_unanswered)
        self._unanswered: dict[int, OwnOrder] = {}
        self._was_logged = False

    def write(self, own: OwnOrder) -> None:
        """Send an order; `OwnOrder.on_answer` learns whether it stands."""
        order, value = own.order, encode_order(own.order)
        lifts = order.verb in LIFTS
        headers: list[tuple[str, str | bytes | None]] = [(wire.ORDER, value)] if lifts else []
        try:
            self._producer.client().produce(
                self._pipeline.control_topic,
                None if lifts else value,
                order_key(order).encode(),
                PARTITION,
                headers=headers,
                on_delivery=partial(self._note, own, value),
            )
        except (BufferError, KafkaException) as failed:
            self._note_failed(own, as_error(failed))
        else:
            self._unanswered[id(own)] = own

    def turn(self) -> None:
        """Take the brokers' answers."""
        self._producer.poll()

    def close(self, within_s: float) -> None:
        """Let what was written be confirmed, for so long at the most."""
        self._producer.flush(within_s / 2)  # the audit record follows the order
        self._producer.close(within_s / 2)

    def _connect(self) -> Producer:
        client_id = f"{self._worker_id}-orders"
        config = producer_config(self._cluster, client_id=client_id, linger_ms=0, message_timeout_ms=EXPIRES_MS)
        outage = Outage(self._cluster.bootstrap_servers, f"client {client_id}", "it repeats that", logging.DEBUG)
        return connect(config, outage)

    def _note(self, own: OwnOrder, value: bytes, error: KafkaError | None, message: Message) -> None:
        if self._unanswered.pop(id(own), None) is None:
            return  # it counts as failed since its client has failed for good
        if error is not None:
            self._note_failed(own, error)
            return
        self._was_logged = False
        own.on_answer(None)
        if own.is_audited and self._producer:
            headers: list[tuple[str, str | bytes | None]] = [(wire.ORDER_OFFSET, b"%d" % (message.offset() or 0))]
            try:
                self._producer.client().produce(
                    self._pipeline.audit_topic,
                    value,
                    order_key(own.order).encode(),
                    headers=headers,
                    on_delivery=partial(self._note_audited, own.order),
                )
            except (BufferError, KafkaException) as failed:
                self._log_unaudited(own.order, as_error(failed))

    def _note_audited(self, order: ControlOrder, error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            self._log_unaudited(order, error)

    def _log_unaudited(self, order: ControlOrder, error: KafkaError) -> None:
        _LOGGER.warning(
            "this worker's order to %s %s holds for all workers without an audit entry: %s did not take it (%s), and "
            "it is not written again",
            order.verb, order_key(order).partition("/")[2], self._pipeline.audit_topic, with_fix(error),
            extra={log_keys.ORDER: order.order_id},
        )  # fmt: skip

    def _note_failed(self, own: OwnOrder, error: KafkaError) -> None:
        self._producer.drop_if_fatal(error)
        self._log_unwritten(error)
        own.on_answer(error)

    def _fail_unanswered(self, error: KafkaError) -> None:
        """Treat the orders that a finished client has not answered as not written: it answers no more."""
        unanswered, self._unanswered = self._unanswered, {}
        for own in unanswered.values():
            self._log_unwritten(error)
            own.on_answer(error)

    def _log_unwritten(self, error: KafkaError) -> None:
        if not self._was_logged:
            self._was_logged = True
            _LOGGER.warning(
                "the worker cannot write to %s (%s): what its breakers and guards decide holds in this process alone, "
                "and the worker tries again",
                self._pipeline.control_topic, with_fix(error),
            )  # fmt: skip
