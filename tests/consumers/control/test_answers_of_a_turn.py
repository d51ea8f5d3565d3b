"""A worker answers an order once it has carried it out, whichever part of its turn has read it."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

from stoker.consumers.control.control_thread import ControlThread
from stoker.consumers.control.order_takers import OrderTaker
from stoker.schemas.own_records.control_records import ControlOrder, WorkerState, WorkerStatus

NOW = datetime(2013, 1, 1, tzinfo=UTC)


class Feed:
    """The control topic; `taken_below` orders are taken."""

    def __init__(self) -> None:
        self.taken_below, self.is_caught_up, self.age_s, self.trouble = 0, True, 0.0, None

    def read(self, timeout_s: float) -> bool:
        """None has come."""
        return False

    def ask(self) -> None:
        """There are none."""

    def read_to(self, offset: int) -> None:
        """Take the orders below it."""
        self.taken_below = offset


class Remover:
    """In its turn, it finds that an order has come before the removal that it writes."""

    def turn(self, orders: Feed) -> None:
        """Take it."""
        orders.read_to(1)


class Taker(OrderTaker):
    """`done_below` orders were carried out."""

    def __init__(self, feed: Feed) -> None:
        self._feed, self.done_below = feed, 0

    @property
    def verbs(self) -> Collection[str]:
        """None."""
        return ()

    def take(self, key: bytes, order: ControlOrder, *, is_new: bool) -> None:
        """Nothing comes."""

    def carry_out(self) -> None:
        """Carry out those that are taken."""
        self.done_below = self._feed.taken_below


class Statuses:
    """The answers: of each, how many orders were taken, and how many of these were carried out."""

    def __init__(self, taker: Taker) -> None:
        self._taker = taker
        self.trouble = None
        self.written: list[tuple[int, int]] = []

    def write_confirmed(self, status: WorkerStatus, within_s: float) -> bool:
        """It is there."""
        return True

    def write(self, status: WorkerStatus, on_written: object) -> None:
        """Note it."""
        self.written.append((status.control_offset, self._taker.done_below))

    def poll(self) -> None:
        """Nothing is on its way."""


def status(state: WorkerState, *, control_offset: int, control_age_s: float) -> WorkerStatus:
    """A worker without queues."""
    return WorkerStatus(
        id="w",
        host="h",
        pid=1,
        version="1",
        state=state,
        started_at=NOW,
        at=NOW,
        queues=(),
        memory_bytes=0,
        control_offset=control_offset,
        control_age_s=control_age_s,
    )


def test_an_order_that_was_read_amid_a_removal_is_carried_out_before_it_is_answered() -> None:
    """Else `control cancel --wait` says that all workers have taken it while the job still runs."""
    feed, left = Feed(), iter([False] * 4)
    taker = Taker(feed)
    process = SimpleNamespace(
        pauses={}, worker_id="w", host="h", status=status, is_stopping=lambda: False, has_ended=lambda: next(left, True)
    )
    statuses = Statuses(taker)
    thread = ControlThread(
        cast(Any, process),
        [taker],
        lambda _orders: cast(Any, feed),
        cast(Any, statuses),
        cast(Any, Remover()),
        clients=[],
        on_crash=lambda error: None,
    )
    thread._serve(cast(Any, feed))
    assert statuses.written[-1] == (1, 1)
    assert all(taken <= done for taken, done in statuses.written)
