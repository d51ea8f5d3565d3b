"""`TurnThread`: a thread that lets one object take turns until it is stopped, and rests after a failure of Kafka."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final, Protocol

from confluent_kafka import KafkaException

from ..topology.cluster.kafka_errors import as_error
from . import log_keys
from .guarded_thread import GuardedThread

_LOGGER = logging.getLogger("stoker.worker")

AGAIN_S: Final = 1.0
CALM_S: Final = 60.0
"""An outage is over when no turn has failed for so long."""
LAST_S: Final = 1.5


class Driven(Protocol):
    """One object that a thread of its own drives. All methods are called in that thread alone."""

    def turn(self) -> None:
        """Do what there is to do, or wait a moment for it.

        Raises:
            KafkaException: of this turn; the next one tries again, with another client where one has failed for good.
        """

    def close(self) -> None:
        """Write what is to be written last, and disconnect."""


class TurnThread:
    """Drives one object until it is stopped.

    Args:
        queue: whose worker it is.
        on_crash: called when a turn ends in anything but an error of Kafka: a worker whose limits stand still must not
            look alive.
    """

    def __init__(self, driven: Driven, name: str, queue: str, on_crash: Callable[[BaseException], None]) -> None:
        self._driven, self._name, self._queue = driven, name, queue
        self._stopped = threading.Event()
        self._thread = GuardedThread(name, self._run, on_crash, at_end=driven.close)
        self._failed_at_s = float("-inf")

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End it, and wait a moment for its last words. Called from any other thread."""
        self._stopped.set()
        self._thread.join(LAST_S)

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._turn_or_rest()

    def _turn_or_rest(self) -> None:
        try:
            self._driven.turn()
        except KafkaException as failed:
            self._log(failed)
            self._stopped.wait(AGAIN_S)

    def _log(self, failed: KafkaException) -> None:
        """Log an outage once, by its first failure; the others are details."""
        now_s = time.monotonic()
        level = logging.WARNING if now_s - self._failed_at_s >= CALM_S else logging.DEBUG
        self._failed_at_s = now_s
        _LOGGER.log(
            level,
            "jobs may wait for their limits: the thread %s cannot read or write its topic (%s), and tries again each "
            "%g s until it can", self._name, as_error(failed).str(), AGAIN_S,
            extra={log_keys.QUEUE: self._queue},
        )  # fmt: skip
