"""`WorkerOutage`: logs when a queue's worker has lost its brokers, and when it has them again.

Of the clients that a worker has, the group's consumer is the one that is always connected, so it speaks for all; the
others' errors are details, and the settler reports by itself that outcomes are not confirmed. A message waits for a
moment: a broker that comes back at once, or an idle connection that a broker closes, is no outage.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

from confluent_kafka import KafkaError

from .. import log_keys

_LOGGER = logging.getLogger("stoker.worker")

LOG_AFTER_S: Final = 1.0
CALM_S: Final = 1.0
"""A broker that was connected to, and has had no error for so long, has come back."""
FORGET_AFTER_S: Final = 60.0
"""librdkafka repeats its errors while it tries; without one for so long, it has no need of that broker."""


class WorkerOutage:
    """Owned by the poll thread: the client calls `note` and `note_connected` while it is polled."""

    def __init__(self, queue: str, bootstrap_servers: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._queue, self._servers, self._clock = queue, bootstrap_servers, clock
        self._last_error = ""
        self._began_at_s: float | None = None
        self._noted_at_s = 0.0
        self._connected_at_s = 0.0
        self._times = 0
        self._is_total = False
        self._is_logged = False

    def note(self, error: KafkaError) -> None:
        """Take an error event of the client."""
        now_s = self._clock()
        if self._began_at_s is None:
            self._began_at_s, self._times, self._is_total, self._is_logged = now_s, 0, False, False
        self._noted_at_s = now_s
        self._times += 1
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self._is_total = True
        else:  # more than that all are down
            self._last_error = error.str()

    def note_connected(self) -> None:
        """Take note of a broker that has answered."""
        self._connected_at_s = self._clock()

    @property
    def is_total(self) -> bool:
        """Whether no broker answers at present."""
        return self._began_at_s is not None and self._is_total

    def review(self) -> None:
        """Log the begin or the end of an outage; to be called every second or so."""
        if self._began_at_s is None:
            return
        now_s = self._clock()
        came_back = self._connected_at_s > self._noted_at_s and now_s - self._noted_at_s >= CALM_S
        if came_back or now_s - self._noted_at_s >= FORGET_AFTER_S:
            self._end(now_s - self._began_at_s)
        elif not self._is_logged and now_s - self._began_at_s >= LOG_AFTER_S and (self._is_total or self._times > 1):
            self._log_outage()

    def _log_outage(self) -> None:
        self._is_logged = True
        meaning = (
            "no job is fetched, and no outcome written, until one answers. Jobs that run go on, and none is lost"
            if self._is_total
            else "jobs of the partitions that it leads wait until it is back, or another one leads them; none is lost"
        )
        _LOGGER.warning(
            "the worker of queue %r has lost %s at %s (%s): %s",
            self._queue, "all brokers" if self._is_total else "a broker", self._servers,
            self._last_error or "no answer", meaning, extra={log_keys.QUEUE: self._queue},
        )  # fmt: skip

    def _end(self, lasted_s: float) -> None:
        if self._is_logged:
            _LOGGER.warning(
                "the worker of queue %r has its brokers again, after %.0f s", self._queue, lasted_s,
                extra={log_keys.QUEUE: self._queue},
            )  # fmt: skip
        self._began_at_s, self._last_error = None, ""
