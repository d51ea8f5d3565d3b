"""`ReservedMeter`: a meter that allows no more use than the log has reserved, so that the next owner knows all use.

A reservation is an amount that may be used within `VALID_S`. It is written before it is used, with all that was used
before. So whatever the owner does until it dies, its last record has it: as used, or as reserved.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, NamedTuple

from ...topology.declaration.limits import Limit
from .level import Level
from .meter import Meter

VALID_S: Final = 2.0
"""A reservation may be used for so long from when it is sent, which is before it is written."""
AHEAD_RATIO: Final = 0.05
"""At most this part of a limit is reserved before a job wants it."""
AT_ONCE_RATIO: Final = 0.1
"""At most this part of a limit is reserved at a time, or what one job costs: so much a kill may cost."""
SPEED_S: Final = 0.2
AHEAD_SPANS: Final = 2
"""As much is reserved ahead as began in so many of the last `SPEED_S`."""


class ScopeKey(NamedTuple):
    """The name of a scope with reservations: a limit's name, a partition, and a key or tenant."""

    limit: str
    partition: int
    value: bytes


@dataclass(frozen=True, slots=True)
class _Sent:
    """A reservation that is on its way to the log and back."""

    number: int
    amount: int
    spent: int
    at_s: float


class ReservedMeter(Meter):
    """One scope; guarded by the lock of `Scopes`, as all meters are.

    Attributes:
        key: which scope it is.
        is_known: whether what an owner before has used is known; until then nothing may be.
    """

    __slots__ = (
        "_begun",
        "_ends_at_s",
        "_inner",
        "_left",
        "_low",
        "_quiet_until_at_s",
        "_sent",
        "_speed_at_s",
        "_spent",
        "_wanting",
        "_was_begun",
        "_was_exceeded",
        "is_known",
        "key",
    )

    def __init__(self, inner: Meter, key: ScopeKey, wanting: set[ReservedMeter], *, is_known: bool) -> None:
        """Begin without a reservation.

        Args:
            wanting: it adds itself to these when a reservation is to be written.
        """
        self._inner, self.key, self._wanting, self.is_known = inner, key, wanting, is_known
        self._left = self._spent = 0
        self._ends_at_s = self._speed_at_s = -math.inf
        self._sent: _Sent | None = None
        self._begun = self._was_begun = 0
        self._was_exceeded = False
        self._low, self._quiet_until_at_s = 0, -math.inf

    def begin(self, inner: Meter) -> None:
        """Go on with what the log has."""
        self._inner, self.is_known = inner, True
        self._left, self._sent, self._was_exceeded = 0, None, False

    def end(self, cost: int) -> bool:
        return False

    @property
    def count(self) -> int:  # type: ignore[override]  # it follows the limit that is in force
        return self._inner.count

    @property
    def most(self) -> int:
        return self._inner.most

    def change(self, limit: Limit, now_s: float) -> None:
        self._inner.change(limit, now_s)

    def wait_s(self, cost: int, now_s: float) -> float:
        """Where there is room, the reservation decides."""
        wait_s = self._inner.wait_s(cost, now_s)
        if wait_s <= 0.0 and self.is_known and self._left_at(now_s) >= cost:
            return 0.0
        if wait_s <= 0.0 or not self.is_known:
            self._wanting.add(self)
            return math.inf
        return wait_s

    def room(self, now_s: float) -> int:
        return min(self._inner.room(now_s), self._left_at(now_s)) if self.is_known else 0

    def free(self, now_s: float) -> int:
        return self._inner.room(now_s)

    def free_in_s(self, cost: int, now_s: float) -> float:
        return self._inner.wait_s(cost, now_s)

    def try_acquire(self, cost: int, now_s: float) -> bool:
        """While much of a new reservation is left, there is nothing to write."""
        left = self._left - cost
        if left > self._low and now_s < self._quiet_until_at_s and self._inner.try_acquire(cost, now_s):
            self._left = left
            self._spent += cost
            self._begun += cost
            return True
        return super().try_acquire(cost, now_s)

    def acquire(self, cost: int, now_s: float) -> None:
        """Where the limit is lifted, a job may take more than is reserved."""
        self._inner.acquire(cost, now_s)
        self._measure_speed(cost, now_s)
        left = self._left_at(now_s) - cost
        if left < 0:
            self._was_exceeded, left = True, 0
        self._left = left
        self._spent += cost
        renewed_at_s = self._ends_at_s - VALID_S / 2
        self._low, self._quiet_until_at_s = self._ahead(now_s) // 2, min(renewed_at_s, self._speed_at_s + SPEED_S)
        if self._was_exceeded or left <= self._low or now_s > renewed_at_s:
            self._wanting.add(self)

    def give_back(self, cost: int, now_s: float) -> None:
        self._inner.give_back(cost, now_s)
        self._left += cost
        self._spent -= cost

    def is_idle(self, now_s: float) -> bool:
        return self._inner.is_idle(now_s) and self._sent is None and not self._left_at(now_s) and not self._was_exceeded

    def level(self, now_s: float) -> Level:
        return self._inner.level(now_s)

    def restore(self, level: Level) -> None:
        self._inner.restore(level)

    # ---- reservations

    def to_reserve(self, needed: int, least: int, now_s: float) -> int | None:
        """How much is to be reserved now; None where nothing is to be written.

        Args:
            needed: the cost of what waits.
            least: the cost of the first one.
        """
        if self.is_on_its_way or not self.is_known:
            return None
        left, wanted = self._left_at(now_s), self._wanted(needed, least, now_s)
        is_ending = wanted > 0 and now_s > self._ends_at_s - VALID_S / 2
        return max(wanted, left) if wanted > left or is_ending or self._was_exceeded else None

    def to_restate(self, needed: int, least: int, now_s: float) -> int | None:
        """As `to_reserve`, for a log that is begun anew: what is left is written there in any case."""
        if self.is_on_its_way or not self.is_known:
            return None
        return max(self._wanted(needed, least, now_s), self._left_at(now_s))

    def _wanted(self, needed: int, least: int, now_s: float) -> int:
        room = max(0, self._inner.room(now_s))
        most = max(least, int(AT_ONCE_RATIO * self._inner.most))
        return min(room, max(min(needed, most) if room >= least else 0, self._ahead(now_s)))

    @property
    def is_on_its_way(self) -> bool:
        """Whether a reservation is on its way."""
        return self._sent is not None

    def note_sent(self, number: int, amount: int, now_s: float) -> None:
        """Note that a reservation is on its way; until it is back, the one before counts."""
        self._sent, self._was_exceeded = _Sent(number, amount, self._spent, now_s), False

    def confirm(self, number: int) -> None:
        """Note that the log has a reservation, and that no other owner's takeover is before it."""
        if self._sent is not None and self._sent.number == number:
            self._left = max(0, self._sent.amount - (self._spent - self._sent.spent))
            self._ends_at_s = self._sent.at_s + VALID_S
            self._sent = None

    def fail(self, number: int) -> None:
        """Note that a reservation was not written, or perhaps not."""
        if self._sent is not None and self._sent.number == number:
            self._sent, self._was_exceeded = None, True

    def suspend(self) -> bool:
        """Let nothing begin until the log is read; returns whether the log has another level than this."""
        differs = self.is_known and (self._left > 0 or self._sent is not None or self._was_exceeded)
        self.is_known, self._left, self._sent = False, 0, None
        return differs

    def _left_at(self, now_s: float) -> int:
        return self._left if now_s < self._ends_at_s else 0

    def _measure_speed(self, cost: int, now_s: float) -> None:
        if now_s >= self._speed_at_s + SPEED_S:
            self._was_begun = self._begun if now_s < self._speed_at_s + 2 * SPEED_S else 0
            self._begun, self._speed_at_s = 0, now_s
        self._begun += cost

    def _ahead(self, now_s: float) -> int:
        """The use that may be wanted soon."""
        if now_s >= self._speed_at_s + 2 * SPEED_S:
            return 0
        return min(int(AHEAD_RATIO * self._inner.most), AHEAD_SPANS * max(self._was_begun, self._begun))
