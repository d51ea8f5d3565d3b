"""`StatusWriter`: puts the worker's status on its topic. Only the last status counts, so none is worth waiting for."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from ...producers.client import Outage, connect, producer_config
from ...producers.control.log_reader import PARTITION
from ...schemas.own_records.control_records import WorkerStatus, encode_status
from ...topology import ClusterSettings
from ...topology.cluster.kafka_errors import as_error, with_fix
from ..kafka.lazy_producer import LazyProducer

_LOGGER = logging.getLogger("stoker.control")

EXPIRES_MS: Final = 10_000
_STEP_S: Final = 0.02

OnWritten = Callable[[KafkaError | None], None]


class StatusWriter:
    """Writes to one topic; the control thread alone calls it.

    Attributes:
        trouble: why the last status that failed could not be written; None since one was written.
    """

    def __init__(self, cluster: ClusterSettings, topic: str, worker_id: str) -> None:
        self._cluster, self._topic, self._worker_id = cluster, topic, worker_id
        self._producer = LazyProducer(self._connect, self._note_trouble)
        self.trouble: KafkaError | None = None
        self._written = 0
        self._was_logged = False

    def write(self, status: WorkerStatus, on_written: OnWritten = lambda _error: None) -> None:
        """Send it; one that does not arrive is followed by another one soon.

        Args:
            on_written: takes the brokers' answer, or why there is none; not called where the client fails for good.
        """
        key = f"{status.id}/{status.host}/{status.pid}".encode()
        try:
            self._producer.client().produce(
                self._topic, encode_status(status), key, PARTITION, on_delivery=partial(self._note, on_written)
            )
            self._producer.poll()
        except (BufferError, KafkaException) as failed:
            error = as_error(failed)
            self._note_trouble(error)
            self._log_unsent(error)
            on_written(error)

    def write_confirmed(self, status: WorkerStatus, within_s: float) -> bool:
        """Send it, and wait for the brokers' confirmation for so long."""
        before, deadline_at_s = self._written, time.monotonic() + within_s
        self.write(status)
        while self._written == before and time.monotonic() < deadline_at_s and self._producer:
            self._producer.poll(_STEP_S)
        return self._written > before

    def poll(self) -> None:
        """Take the brokers' answers."""
        self._producer.poll()

    def close(self, within_s: float) -> None:
        """Let what was sent be confirmed, for so long at the most."""
        self._producer.close(within_s)

    def _connect(self) -> Producer:
        client_id = f"{self._worker_id}-status"
        config = producer_config(
            self._cluster,
            client_id=client_id,
            linger_ms=0,
            message_timeout_ms=EXPIRES_MS,
            queue_buffering_max_messages=100,
        )
        return connect(config, _quiet(self._cluster, client_id))

    def _note(self, on_written: OnWritten, error: KafkaError | None, _message: Message) -> None:
        if error is None:
            self._written += 1
            self.trouble, self._was_logged = None, False
        else:
            self._note_trouble(error)
        on_written(error)

    def _log_unsent(self, error: KafkaError) -> None:
        """Log once what this process lacks; what brokers do not answer is logged by the worker's own clients."""
        if not self._was_logged:
            self._was_logged = True
            _LOGGER.warning(
                "the worker cannot send its status to %s (%s): it tries again with the next one. Jobs go on; until "
                "then `stoker workers` shows the worker as silent, and orders wait for its answer in vain",
                self._topic, with_fix(error),
            )  # fmt: skip

    def _note_trouble(self, error: KafkaError) -> None:
        self.trouble = error
        self._producer.drop_if_fatal(error)


def _quiet(cluster: ClusterSettings, client_id: str) -> Outage:
    """The worker's own clients report an outage."""
    return Outage(cluster.bootstrap_servers, f"client {client_id}", "the worker writes its status later", logging.DEBUG)
