"""`Forgetter`: removes orders from the control topic that have nothing left to do, so that it stays small.

A removal names the order that it removes. A newer order under the key may be on the topic before it, unread here when
the removal was written: readers let it stand, but compaction would keep the removal alone. So this worker writes the
newer one again.
"""

from __future__ import annotations

import logging
import socket
import time
import uuid
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from typing import Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from ...producers.client import Outage, connect, producer_config
from ...producers.control.log_reader import PARTITION
from ...schemas.own_records.control_records import ControlOrder, encode_order
from ...topology import ClusterSettings
from ...topology.cluster.kafka_errors import as_error, with_fix
from ...topology.wire import headers as wire
from ...topology.wire.orders import AGAIN, lifting_order
from ..kafka.lazy_producer import LazyProducer

_LOGGER = logging.getLogger("stoker.control")

EXPIRES_MS: Final = 10_000
MOST_A_TURN: Final = 1_000
"""Between two looks for new orders."""
AFTER_FAILURE_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class _Write:
    """One record of this worker's: the removal of the order with this id, or that order once more.

    Attributes:
        reason: for people; of a removal only.
        order: None removes it.
    """

    order_id: str
    reason: str
    order: ControlOrder | None = None


class Forgetter:
    """Writes to one topic; the control thread alone calls it. Connects with the first order to remove.

    What cannot be removed is tried again; what is not removed at the end is removed when its time is over.

    Under each key, one record at a time is on its way (`_unread`), until it has come back from the topic: all other
    records of the key that come before it lie before it there.
    """

    def __init__(self, cluster: ClusterSettings, topic: str, worker_id: str) -> None:
        self._cluster, self._topic, self._worker_id = cluster, topic, worker_id
        self._producer = LazyProducer(self._connect, self._note_finished)
        self._pending: dict[bytes, _Write] = {}
        self._unanswered: dict[bytes, _Write] = {}
        self._unread: dict[bytes, _Write] = {}
        self._next_at_s = 0.0
        self._was_logged = False

    def forget(self, key: bytes, order_id: str, reason: str) -> None:
        """Remove the order with this id under a key, soon."""
        self._pending[key] = _Write(order_id, reason)

    def note_taken(self, key: bytes, order: ControlOrder) -> None:
        """Note an order that has come from the topic."""
        pending, written = self._pending.get(key), self._unread.get(key)
        if AGAIN in order.detail:
            if written is not None and written.order is not None and written.order_id == order.order_id:
                del self._unread[key]
        elif written is not None and written.order_id != order.order_id:
            again = replace(order, detail={**order.detail, AGAIN: self._worker_id})
            self._pending[key] = _Write(order.order_id, "", again)
        elif pending is not None and pending.order_id != order.order_id:
            del self._pending[key]

    def note_lifted(self, key: bytes) -> None:
        """Note a record that has come, and lifts whichever order stands."""
        self._pending.pop(key, None)
        self._unanswered.pop(key, None)
        written = self._unread.get(key)
        if written is not None and written.order is not None:
            self.forget(key, written.order_id, "it was lifted")

    def note_removed(self, key: bytes, order_id: str) -> None:
        """Note a removal that has come, by whichever worker."""
        pending, written = self._pending.get(key), self._unread.get(key)
        if pending is not None and pending.order_id == order_id:
            del self._pending[key]
        if written is None or written.order_id != order_id:
            return
        if written.order is None:
            del self._unread[key]
        else:
            self.forget(key, order_id, "it was removed")

    def turn(self) -> None:
        """Write what is to be removed, and take the brokers' answers."""
        if self._pending and time.monotonic() >= self._next_at_s:
            free = ((key, write) for key, write in self._pending.items() if key not in self._unread)
            self._write(list(islice(free, MOST_A_TURN)))
        self._producer.poll()

    def close(self, within_s: float) -> None:
        """Let what was written be confirmed, for so long at the most."""
        self._producer.close(within_s)

    def _write(self, some: list[tuple[bytes, _Write]]) -> None:
        try:
            producer = self._producer.client()
            for key, write in some:
                value = None if write.order is None else encode_order(write.order)
                headers: list[tuple[str, str | bytes | None]] = []
                if write.order is None:
                    headers.append((wire.ORDER, self._lifting(key, write)))
                note = partial(self._note, key, write)
                producer.produce(self._topic, value, key, PARTITION, headers=headers, on_delivery=note)
                self._unanswered[key] = self._unread[key] = self._pending.pop(key)
        except (BufferError, KafkaException) as error:
            self._note_trouble(as_error(error))

    def _lifting(self, key: bytes, write: _Write) -> bytes:
        return encode_order(
            lifting_order(
                key,
                removed=write.order_id,
                order_id=str(uuid.uuid4()),
                operator=f"worker {self._worker_id}",
                host=socket.gethostname(),
                at=datetime.now(UTC),
                reason=write.reason,
            )
        )

    def _connect(self) -> Producer:
        client_id = f"{self._worker_id}-control"
        config = producer_config(self._cluster, client_id=client_id, linger_ms=5, message_timeout_ms=EXPIRES_MS)
        outage = Outage(self._cluster.bootstrap_servers, f"client {client_id}", "it repeats that", logging.DEBUG)
        return connect(config, outage)

    def _note(self, key: bytes, write: _Write, error: KafkaError | None, _message: Message) -> None:
        is_wanted = self._unanswered.get(key) is write
        if is_wanted:
            del self._unanswered[key]
        if error is None:
            self._was_logged = False
            return
        if self._unread.get(key) is write:
            del self._unread[key]
        if is_wanted:
            self._pending.setdefault(key, write)
        self._note_trouble(error)

    def _note_finished(self, error: KafkaError) -> None:
        """Write again what a finished client has not answered, since it answers no more."""
        self._pending = self._unanswered | self._pending
        self._unanswered, self._unread = {}, {}
        self._note_trouble(error)

    def _note_trouble(self, error: KafkaError) -> None:
        self._next_at_s = time.monotonic() + AFTER_FAILURE_S
        self._producer.drop_if_fatal(error)
        if not self._was_logged:
            self._was_logged = True
            _LOGGER.warning(
                "the worker cannot remove orders that have nothing left to do from %s (%s): it tries again every "
                "%.0f s. Jobs go on", self._topic, with_fix(error), AFTER_FAILURE_S,
            )  # fmt: skip
