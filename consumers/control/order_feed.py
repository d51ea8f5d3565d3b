"""`OrderFeed`: brings the records of the control topic to `Orders`, and knows how far it is and how old that is."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

from confluent_kafka import KafkaError, KafkaException

from ...producers.control.log_reader import LogReader
from .orders import Orders

_LOGGER = logging.getLogger("stoker.control")

ASK_TIMEOUT_S: Final = 1.0
ASK_INTERVAL_S: Final = 5.0
FORGETFUL_AFTER_S: Final = 24 * 3_600.0
"""After that long without the topic all orders are read again: the log may have forgotten that one was lifted."""


class OrderFeed:
    """Reads the topic from its beginning; the control thread alone calls it.

    Attributes:
        is_caught_up: whether all orders are taken that were there at the beginning.
        trouble: why the topic cannot be read; None where that is not known.
    """

    def __init__(self, reader: LogReader, orders: Orders, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._reader = reader
        self._orders = orders
        self._clock = clock
        self._known_at_s = self._clock()
        self._next_ask_at_s = self._next_end_at_s = 0.0
        self._end_at_start = 0
        self._has_begun = False
        self.is_caught_up = False
        self.trouble: KafkaError | None = None

    @property
    def taken_below(self) -> int:
        """All orders below this offset are taken; 0 where that is not known."""
        return self._reader.position if self.is_caught_up else 0

    @property
    def age_s(self) -> float:
        """For how long it is not known whether there are more orders."""
        return self._clock() - self._known_at_s

    def read(self, timeout_s: float) -> bool:
        """Read the orders that are there, or wait for one; whether any came."""
        if not self._has_begun and not self._begin():
            return False
        expected = self._reader.position
        messages = self._reader.read(timeout_s)
        first = messages[0].offset() or 0 if messages else self._reader.position
        if first < expected:
            self._begin_anew("its offsets have begun again")
            return False
        for message in messages:
            self._orders.take(message)
        self._update_progress()
        return bool(messages)

    def read_to(self, offset: int, within_s: float) -> bool:
        """Take the orders below an offset, for so long at the most; whether all of them are taken."""
        give_up_at_s = self._clock() + within_s
        while self.taken_below < offset and self._clock() < give_up_at_s:
            self.read(max(0.0, give_up_at_s - self._clock()))
        return self.taken_below >= offset

    def _update_progress(self) -> None:
        self.trouble = self._reader.trouble
        if self._reader.is_at_end:
            self._known_at_s = self._clock()
        if self.is_caught_up:
            return
        if self._reader.is_at_end and self._reader.position < self._end_at_start:
            self._ask_end_again()
        if self._reader.position >= self._end_at_start:
            self._orders.end_rereading()
            self.is_caught_up = True
            self._known_at_s = self._clock()

    def _ask_end_again(self) -> None:
        """Ask now and then whether the log was truncated while orders behind an open transaction are awaited.

        The brokers undo a transaction whose writer has died, within 20 s.
        """
        if self._clock() < self._next_end_at_s:
            return
        self._next_end_at_s = self._clock() + ASK_INTERVAL_S
        try:
            _, end = self._reader.ask_whole_end(ASK_TIMEOUT_S)
            self._end_at_start = min(self._end_at_start, end)
        except KafkaException as failed:
            self.trouble = failed.args[0]

    def ask(self) -> None:
        """Ask the brokers now and then whether there is more than what was taken."""
        if not self.is_caught_up or self._clock() < self._next_ask_at_s:
            return
        self._next_ask_at_s = self._clock() + ASK_INTERVAL_S
        asked_at_s = self._clock()
        try:
            _, end = self._reader.ask_end(ASK_TIMEOUT_S)
        except KafkaException as failed:
            self.trouble = failed.args[0]
            return
        if end < self._reader.position:
            self._begin_anew("it is shorter than it was")
        elif self.age_s > FORGETFUL_AFTER_S:
            self._begin_anew("it could not be read for a day")
        elif end == self._reader.position:
            self._known_at_s = asked_at_s

    def close(self) -> None:
        """Disconnect."""
        self._reader.close()

    def _begin(self) -> bool:
        """Begin at the first offset; False where the brokers do not answer."""
        try:
            first, self._end_at_start = self._reader.ask_whole_end(ASK_TIMEOUT_S)
            self._next_end_at_s = self._clock() + ASK_INTERVAL_S
        except KafkaException as failed:
            self.trouble = failed.args[0]
            return False
        self._orders.begin_rereading()
        self._reader.start(first)
        self._has_begun = True
        return True

    def _begin_anew(self, why: str) -> None:
        _LOGGER.warning("the worker reads the control topic again from its beginning: %s", why)
        self._has_begun = self.is_caught_up = False
