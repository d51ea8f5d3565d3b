"""`OrderTaker`: one kind of orders, and what they do in this process."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from typing import Protocol

from ...schemas.own_records.control_records import ControlOrder


def utc_now() -> datetime:
    """The time by this host's clock."""
    return datetime.now(UTC)


class OrderTaker(Protocol):
    """Takes the orders of some verbs; the control thread alone calls it.

    All but orders that are done once stand until they are lifted, replaced by another one under their key, or over.
    """

    @property
    @abstractmethod
    def verbs(self) -> Collection[str]:
        """The verbs of its orders."""

    @abstractmethod
    def take(self, key: bytes, order: ControlOrder, *, is_new: bool) -> None:
        """Hold to an order from now on, in place of the one that stood under the key.

        The same order may come again. One that is over already holds for nothing.

        Args:
            is_new: False where the order may have been given before this process started.
        """

    def lift(self, key: bytes) -> None:
        """Let go of the order that stands under the key, if any does."""
        return

    def remove(self, key: bytes, order_id: str) -> None:
        """Let go of the order with this id, which a worker has removed; a newer one under the key stays."""
        self.lift(key)

    def let_go_of_old(self) -> None:
        """Let go of the orders that are over by now; called several times a second."""
        return

    def carry_out(self) -> None:
        """Do what is left to do of the orders taken so far; called several times a second, and before the answer."""
        return

    def close(self, within_s: float) -> None:
        """Do what is left to do at the end of the process, for so long at the most."""
        return

    def begin_rereading(self) -> None:
        """All orders that stand come again from here on."""
        return

    def end_rereading(self) -> None:
        """Let go of those that did not."""
        return


class OrderClient(Protocol):
    """Writes orders for takers, of which several may share it; so none of them closes it."""

    @abstractmethod
    def close(self, within_s: float) -> None:
        """Let what was written be confirmed, for so long at the most."""


class StandingOrders(OrderTaker, ABC):
    """Keeps each order that stands as it is, so it is for kinds of which there are some thousands at most."""

    def __init__(self, clock: Callable[[], datetime] = utc_now) -> None:
        self._clock = clock
        self._standing: dict[bytes, ControlOrder] = {}
        self._ending: set[bytes] = set()
        self._not_seen: set[bytes] = set()

    @abstractmethod
    def begin(self, order: ControlOrder) -> None:
        """Hold to it."""

    @abstractmethod
    def end(self, order: ControlOrder) -> None:
        """Let go of it."""

    @property
    def standing(self) -> list[ControlOrder]:
        """The orders that stand."""
        return list(self._standing.values())

    def under(self, key: bytes) -> ControlOrder | None:
        """The order that stands under a key."""
        return self._standing.get(key)

    def take(self, key: bytes, order: ControlOrder, *, is_new: bool) -> None:
        """The new one first: there is no moment between the two at which neither holds."""
        self._not_seen.discard(key)
        former = self._standing.get(key)
        if former == order:
            return
        if order.is_over(self._clock()):
            self.lift(key)
            return
        self.begin(order)
        self._standing[key] = order
        if order.until is not None:
            self._ending.add(key)
        else:
            self._ending.discard(key)
        if former is not None:
            self.end(former)

    def lift(self, key: bytes) -> None:
        """End it, if it stands."""
        self._ending.discard(key)
        order = self._standing.pop(key, None)
        if order is not None:
            self.end(order)

    def let_go_of_old(self) -> None:
        """End those that are over."""
        if self._ending:
            now = self._clock()
            for key in [key for key in self._ending if self._standing[key].is_over(now)]:
                self.lift(key)

    def begin_rereading(self) -> None:
        """Note what stands."""
        self._not_seen = set(self._standing)

    def keep(self, key: bytes, order: ControlOrder) -> None:
        """Let an order stand though it does not come again, unless another one stands under its key."""
        if self._standing.get(key) == order:
            self._not_seen.discard(key)

    def end_rereading(self) -> None:
        """End what was lifted without this process having seen it."""
        not_seen, self._not_seen = self._not_seen, set()
        for key in not_seen:
            self.lift(key)
