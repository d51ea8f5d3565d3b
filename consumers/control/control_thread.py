"""`ControlThread`: takes the orders of the control topic for one worker process, and answers by the worker's status.

A worker that starts lets itself be known first, then takes all orders that stand, and only then starts jobs. So it
knows an order that was given before, and the sender of a later one waits for its answer. A worker that loses the
control topic goes on with the orders that it knows, and its status has their age.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Final

from confluent_kafka import KafkaError

from ...schemas.own_records.control_records import WorkerState, WorkerStatus
from ...topology.log_pace import LogPace
from ..guarded_thread import GuardedThread
from .order_feed import OrderFeed
from .order_remover import OrderRemover
from .order_takers import OrderClient, OrderTaker
from .orders import Orders
from .status_writer import StatusWriter
from .worker_orders import OnceOrders, QuietOrders
from .worker_process import WorkerProcess

_LOGGER = logging.getLogger("stoker.control")

READ_S: Final = 0.1
STATUS_INTERVAL_S: Final = 5.0
ANNOUNCE_S: Final = 5.0
LAST_STATUS_S: Final = 1.0
LOG_INTERVAL_S: Final = 30.0
STALE_AFTER_S: Final = 15.0
"""Orders that are older than this are logged: there may be more."""

MakeFeed = Callable[[Orders], OrderFeed]


class ControlThread:
    """Takes and answers orders until the process has ended.

    Args:
        remover: removes the orders that have nothing left to do, as the takers ask it to.
        clients: the others through which takers write; they are closed after all takers.

    Attributes:
        is_ready: set once all orders are taken that stood when the worker started: jobs may start.
    """

    def __init__(
        self,
        process: WorkerProcess,
        takers: Iterable[OrderTaker],
        make_feed: MakeFeed,
        writer: StatusWriter,
        remover: OrderRemover,
        *,
        clients: Iterable[OrderClient],
        on_crash: Callable[[BaseException], None],
    ) -> None:
        self._process = process
        self._quiet, self._once = QuietOrders(process), OnceOrders(process)
        self._orders = Orders([*takers, self._quiet, self._once])
        self._make_feed = make_feed
        self._writer, self._remover = writer, remover
        self._clients = tuple(clients)
        self._on_crash = on_crash
        self._next_status_at_s = 0.0
        self._reports = _Reports()
        self._thread = GuardedThread("stoker-control", self._run, on_crash)
        self.is_ready = threading.Event()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def join(self, timeout_s: float) -> None:
        """Wait for its end, for so long at the most."""
        self._thread.join(timeout_s)

    def _run(self) -> None:
        feed = self._make_feed(self._orders)
        self._serve_or_report(feed)
        self._leave(feed)

    def _serve_or_report(self, feed: OrderFeed) -> None:
        """Serve; a crash is reported at once, since `_leave` waits for the end that follows from it."""
        try:
            self._serve(feed)
        except BaseException as error:  # noqa: BLE001  # a worker that takes no orders must not look alive
            self._on_crash(error)

    def _serve(self, feed: OrderFeed) -> None:
        if not self._announce(feed) or not self._catch_up(feed):
            return
        self.is_ready.set()
        self._write_status(feed)
        while not self._process.has_ended():
            self._turn(feed)

    def _announce(self, feed: OrderFeed) -> bool:
        """Let the worker be known before it takes any order; False where it stops first."""
        while not self._is_over():
            if self._writer.write_confirmed(self._status(feed, WorkerState.STARTING), ANNOUNCE_S):
                return True
            self._reports.waits("cannot write its status", self._writer.trouble)
        return False

    def _catch_up(self, feed: OrderFeed) -> bool:
        """Take the orders that stand; False where the worker stops first."""
        self._reports.begin()
        while not feed.is_caught_up:
            if self._is_over():
                return False
            if not feed.read(READ_S):
                self._reports.waits("has not read the control topic to its end", feed.trouble)
        return True

    def _is_over(self) -> bool:
        return self._process.is_stopping() or self._process.has_ended()

    def _turn(self, feed: OrderFeed) -> None:
        before = feed.taken_below
        feed.read(READ_S)
        self._remover.turn(feed)  # it may read further orders
        self._orders.carry_out()
        if feed.taken_below != before or time.monotonic() >= self._next_status_at_s:
            self._write_status(feed)
        else:
            self._writer.poll()
        feed.ask()
        self._reports.note_age(feed.age_s, feed.trouble)

    def _write_status(self, feed: OrderFeed) -> None:
        self._next_status_at_s = time.monotonic() + STATUS_INTERVAL_S
        self._writer.write(self._status(feed, self._state()), partial(self._once.note_answered, self._once.inspection))

    def _state(self) -> WorkerState:
        if self._process.is_stopping():
            return WorkerState.STOPPING
        return WorkerState.QUIET if self._quiet.is_quiet else WorkerState.RUNNING

    def _status(self, feed: OrderFeed, state: WorkerState) -> WorkerStatus:
        return replace(
            self._process.status(state, control_offset=feed.taken_below, control_age_s=feed.age_s),
            not_understood=len(self._orders.not_understood),
            not_understood_ids=self._orders.latest_not_understood,
            inspection=self._once.inspection,
        )

    def _leave(self, feed: OrderFeed) -> None:
        """Publish the status `gone`: senders of orders wait for this worker no more."""
        while not self._process.has_ended():  # it stopped before it was ready, and its queues are about to notice
            time.sleep(READ_S)
        self._orders.close(LAST_STATUS_S)
        for client in self._clients:
            client.close(LAST_STATUS_S)
        self._writer.write(self._status(feed, WorkerState.GONE))
        self._writer.close(LAST_STATUS_S)
        self._remover.close()
        feed.close()


class _Reports:
    """Logs that the control topic cannot be read, or the status cannot be written."""

    def __init__(self) -> None:
        self._is_stale = False
        self.begin()

    def begin(self) -> None:
        """Log nothing for a while: most waits are short."""
        self._log_pace = LogPace(LOG_INTERVAL_S, first_at_s=time.monotonic() + STALE_AFTER_S)

    def waits(self, what: str, trouble: KafkaError | None) -> None:
        """Log now and then that no job starts."""
        if self._log_pace.try_acquire(time.monotonic()):
            cause = "the brokers do not answer" if trouble is None else trouble.str()
            _LOGGER.warning("the worker %s (%s); it starts no job before that, and goes on trying", what, cause)

    def note_age(self, age_s: float, trouble: KafkaError | None) -> None:
        """Log when the orders grow old, now and then while they are, and when they are known again."""
        if age_s > STALE_AFTER_S:
            self._log_stale(age_s, trouble)
        elif self._is_stale:
            self._is_stale = False
            _LOGGER.warning("the worker reads the control topic again, and has all orders")

    def _log_stale(self, age_s: float, trouble: KafkaError | None) -> None:
        if not self._is_stale:
            self._is_stale = True
            self._log_pace.begin_anew()
        if self._log_pace.try_acquire(time.monotonic()):
            cause = "the brokers do not answer" if trouble is None else trouble.str()
            _LOGGER.warning(
                "the worker cannot read the control topic (%s); it goes on with the orders that it knows, which are "
                "%.0f s old, and takes no new ones",
                cause, age_s,
            )  # fmt: skip
