"""`Forgetter`: removes orders from the control topic that have nothing left to do, so that it stays small."""

from __future__ import annotations

import logging
import socket
import time
import uuid
from datetime import UTC, datetime
from typing import Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from ...producers.client import Outage, connect, producer_config
from ...producers.control.log_reader import PARTITION
from ...schemas.own_records.control_records import encode_order
from ...topology import ClusterSettings
from ...topology.cluster.kafka_errors import as_error, with_fix
from ...topology.wire import headers as wire
from ...topology.wire.orders import lifting_order
from ..kafka.lazy_producer import LazyProducer

_LOGGER = logging.getLogger("stoker.control")

EXPIRES_MS: Final = 10_000
MOST_A_TURN: Final = 1_000
"""Between two looks for new orders."""
AFTER_FAILURE_S: Final = 30.0


class Forgetter:
    """Writes to one topic; the control thread alone calls it. Connects with the first order to remove.

    What cannot be removed is tried again; what is not removed at the end is removed when its time is over.
    """

    def __init__(self, cluster: ClusterSettings, topic: str, worker_id: str) -> None:
        self._cluster, self._topic, self._worker_id = cluster, topic, worker_id
        self._producer = LazyProducer(self._connect, self._note_finished)
        self._pending: dict[bytes, str] = {}
        self._unanswered: dict[bytes, str] = {}
        self._next_at_s = 0.0
        self._was_logged = False

    def forget(self, key: bytes, reason: str) -> None:
        """Remove the order under a key, soon."""
        self._pending[key] = reason

    def note_lifted(self, key: bytes) -> None:
        """Note that it is removed."""
        self._pending.pop(key, None)
        self._unanswered.pop(key, None)

    def turn(self) -> None:
        """Write what is to be removed, and take the brokers' answers."""
        if self._pending and time.monotonic() >= self._next_at_s:
            self._write(list(self._pending.items())[:MOST_A_TURN])
        self._producer.poll()

    def close(self, within_s: float) -> None:
        """Let what was written be confirmed, for so long at the most."""
        self._producer.close(within_s)

    def _write(self, some: list[tuple[bytes, str]]) -> None:
        try:
            producer = self._producer.client()
            for key, reason in some:
                headers: list[tuple[str, str | bytes | None]] = [(wire.ORDER, self._lifting(key, reason))]
                producer.produce(self._topic, None, key, PARTITION, headers=headers, on_delivery=self._note)
                self._unanswered[key] = self._pending.pop(key)
        except (BufferError, KafkaException) as error:
            self._note_trouble(as_error(error))

    def _lifting(self, key: bytes, reason: str) -> bytes:
        return encode_order(
            lifting_order(
                key,
                order_id=str(uuid.uuid4()),
                operator=f"worker {self._worker_id}",
                host=socket.gethostname(),
                at=datetime.now(UTC),
                reason=reason,
            )
        )

    def _connect(self) -> Producer:
        client_id = f"{self._worker_id}-control"
        config = producer_config(self._cluster, client_id=client_id, linger_ms=5, message_timeout_ms=EXPIRES_MS)
        outage = Outage(self._cluster.bootstrap_servers, f"client {client_id}", "it repeats that", logging.DEBUG)
        return connect(config, outage)

    def _note(self, error: KafkaError | None, message: Message) -> None:
        name = message.key()
        key = name.encode() if isinstance(name, str) else name or b""
        reason = self._unanswered.pop(key, "it has nothing left to do")
        if error is None:
            self._was_logged = False
            return
        self._pending.setdefault(key, reason)
        self._note_trouble(error)

    def _note_finished(self, error: KafkaError) -> None:
        """Write again what a finished client has not answered, since it answers no more."""
        self._pending = self._unanswered | self._pending
        self._unanswered = {}
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
