"""`OrderWriter`: writes orders to the control topic and to the audit topic, in one Kafka transaction.

No reader sees an order without its audit record, or the reverse, unless it was given without the audit topic. Each
writer has a transactional id of its own, so that operators do not shut each other out. An order may be written twice,
with the same order id: it stands once.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Final

from confluent_kafka import KafkaError, TopicPartition

from ...schemas.own_records.control_records import ControlOrder, RecordPlace, encode_order
from ...topology import ClusterSettings, NotAuthorized, Pipeline
from ...topology.actor import Actor
from ...topology.cluster.stable_ends import StableEnds
from ...topology.wire import headers as wire
from ...topology.wire.headers import actor_headers
from ...topology.wire.orders import LIFTS, order_key
from ..client import Outage
from ..transaction_writer import TransactionFailed, TransactionRecord, TransactionWriter
from .errors import OrderUnconfirmed

WITHIN_S: Final = 30.0


class OrderWriter:
    """Writes orders, some at a time. Not thread-safe; connects with the first one."""

    def __init__(
        self,
        pipeline: Pipeline,
        cluster: ClusterSettings,
        actor: Actor,
        *,
        is_audited: bool = True,
        within_s: float = WITHIN_S,
    ) -> None:
        """Prepare, without connecting yet.

        Args:
            actor: who gives the orders, and from where.
            is_audited: False writes nothing to the audit topic, for the case that it cannot be written to.
        """
        self._pipeline, self._cluster, self._is_audited = pipeline, cluster, is_audited
        self._from = actor_headers(actor.command, actor.version)
        outage = Outage(cluster.bootstrap_servers, "control", "the order waits for them for a while")
        transactional_id = f"{pipeline.control_topic}.{uuid.uuid4().hex}"
        self._writer = TransactionWriter(
            cluster, transactional_id, outage, client_id="stoker-control", within_s=within_s
        )
        self._ends = StableEnds(cluster, client_id="stoker-control")

    def write(
        self, orders: Sequence[ControlOrder], beside: Sequence[TransactionRecord] = ()
    ) -> tuple[list[int], float]:
        """Write the orders in one transaction; all of them stand, or none. Who looks at the topics then sees them.

        Args:
            beside: further records of the same transaction, which mean something with these orders only.

        Returns:
            Their offsets on the control topic, and the brokers' time, in epoch seconds.

        Raises:
            OrderUnconfirmed: the brokers did not confirm it in time.
            NotAuthorized: they forbid it.
            SettingRefused: the cluster's options weaken a guarantee.
        """
        values = [encode_order(order) for order in orders]
        records = [self._record(order, value) for order, value in zip(orders, values, strict=True)]

        def audits(places: Sequence[RecordPlace]) -> list[TransactionRecord]:
            if not self._is_audited:
                return []
            return [self._audit(*parts) for parts in zip(orders, values, places[: len(orders)], strict=True)]

        try:
            if not self._writer.is_connected:
                self._writer.connect()
            places = self._writer.write([*records, *beside], audits)
        except TransactionFailed as failed:
            raise self._in_words(orders, failed, [record.topic for record in beside]) from failed
        self._ends.wait_past(TopicPartition(place.topic, place.partition, place.offset) for place in places)
        return [place.offset for place in places[: len(orders)]], self._writer.written_at_s

    def close(self) -> None:
        """Disconnect."""
        self._writer.close()

    def _record(self, order: ControlOrder, value: bytes) -> TransactionRecord:
        lifts = order.verb in LIFTS
        return TransactionRecord(
            topic=self._pipeline.control_topic,
            key=order_key(order).encode(),
            value=None if lifts else value,
            headers=[(wire.ORDER, value)] if lifts else [],
        )

    def _audit(self, order: ControlOrder, value: bytes, place: RecordPlace) -> TransactionRecord:
        return TransactionRecord(
            topic=self._pipeline.audit_topic,
            key=order_key(order).encode(),
            value=value,
            headers=[(wire.ORDER_OFFSET, b"%d" % place.offset), *self._from],
        )

    def _in_words(self, orders: Sequence[ControlOrder], failed: TransactionFailed, further: Sequence[str]) -> Exception:
        if not failed.is_forbidden:
            ids = dict.fromkeys(order.order_id for order in orders)
            return OrderUnconfirmed(ids, str(failed), is_perhaps_ordered=failed.is_perhaps_committed)
        audit = [self._pipeline.audit_topic] if self._is_audited else []
        topics = (self._pipeline.control_topic, *audit, *further)
        missing = [("Write", f"topic {topic}") for topic in topics]
        if KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED in failed.codes:
            missing = [("Write", f"transactional-id {self._pipeline.control_topic}.*")]
        return NotAuthorized(self._cluster.principal, missing)
