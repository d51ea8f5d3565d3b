"""`Scope`: what one limit counts together, such as the jobs of one tenant, and the records that wait for it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ...topology.declaration.limits import Limit
from ..meters.meter import Meter
from ..records.record import Record

PATIENCE_S: Final = 1.0
LONGEST_PATIENCE_S: Final = 60.0
"""A released record that does not begin keeps its place for so long, before another one is released in its stead."""
LIFTED_BUDGET: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Limited:
    """Why a record waits: a limit has no room.

    Attributes:
        limit: its name.
        value: the key or tenant whose jobs are counted; None where the limit counts all together.
        allows: as text, it names the limit for people: `10/1s by tenant`.
    """

    limit: str
    value: str | None
    allows: object

    @property
    def state(self) -> str:
        """The state of the job in a word."""
        return "limited"

    @property
    def detail(self) -> Mapping[str, str]:
        """The event that ends the wait."""
        of = "" if self.value is None else f" for {self.value!r}"
        return {"ends_by": f"room in limit {self.limit}{of} ({self.allows})"}


class InForce:
    """The limit that holds now. Orders change this object, so a `Limited` that refers to it stays equal.

    Attributes:
        declared, limit: as it is declared, and as it is kept.
        is_lifted: whether it holds nothing back.
    """

    __slots__ = ("declared", "is_lifted", "limit")

    def __init__(self, declared: Limit) -> None:
        self.declared = self.limit = declared
        self.is_lifted = False

    def change(self, limit: Limit, *, is_lifted: bool) -> None:
        """Keep the limit as an order has it."""
        self.limit, self.is_lifted = limit, is_lifted

    def __str__(self) -> str:
        """The limit for people."""
        return f"{self.limit}" if self.limit == self.declared else f"{self.limit}, by order"


class Scope:
    """Guarded by the lock of `Scopes`; but for `why`, which never changes.

    Records begin in the order in which they came: while some wait, no later one passes them. A *released* record may
    pass, once. The methods below alone change the attributes; they are attributes since each record asks for them.

    Attributes:
        why: why its records wait.
        is_lifted: whether the limit holds nothing back. The meter goes on counting, for the time after.
        is_full: whether records wait, or did at the last look: it had no room for one, and later ones wait behind it.
        is_waited_for: whether a look is to release waiting records as soon as there is room. False where only credits
            are left.
        held_until_at_s: nothing begins before this time, because a job has raised `RateLimited`.
        asks_at_s: when the next look is due; `math.inf` where an event causes it.
        least: the cost of the first waiting record.
        pending: the cost of the released records that have not begun, and of the credits.
        credits: how many more records may pass, as they come back from aside.
    """

    __slots__ = (
        "_has_hold_to_report",
        "_last_release_at_s",
        "_patience_s",
        "_released",
        "asks_at_s",
        "credits",
        "held_until_at_s",
        "is_full",
        "is_lifted",
        "is_waited_for",
        "least",
        "meter",
        "partition",
        "pending",
        "why",
    )

    def __init__(self, meter: Meter, why: Limited, partition: int | None, *, is_lifted: bool) -> None:
        self.meter, self.why, self.partition = meter, why, partition
        self.is_lifted = is_lifted
        self.is_full = self.is_waited_for = False
        self.held_until_at_s = -math.inf
        self._has_hold_to_report = False
        self.asks_at_s = math.inf
        self.credits = 0
        self.least = 1
        self._released: dict[Record, int] = {}
        self.pending = 0
        self._last_release_at_s = -math.inf
        self._patience_s = PATIENCE_S

    def take_turn(self, record: Record) -> bool:
        """Let a ready record go on to a runner if no other waits, or if it was released; False where it has to wait.

        While there are credits, a record takes one, and is released by that. Asking again takes no other one.
        """
        if not self.is_full or self.is_lifted or record in self._released:
            return True
        if self.credits:
            self.credits -= 1
            self._released[record] = 1
            return True
        return False

    def try_acquire(self, cost: int, now_s: float) -> bool:
        """Count a record if it fits; False while the scope is full or held, or a released record has not begun."""
        if self.is_full or self._released or now_s < self.held_until_at_s:
            return False
        return self.meter.try_acquire(cost, now_s)

    def wait_s(self, record: Record, cost: int, now_s: float) -> float:
        """How long a record that is about to begin has to wait; 0 where it begins."""
        if self.is_lifted:
            return max(self.held_until_at_s - now_s, 0.0)
        if self.is_full and record not in self._released:
            return max(self.meter.wait_s(cost, now_s), self.held_until_at_s - now_s, math.ulp(0.0))
        return max(self.meter.wait_s(cost, now_s), self.held_until_at_s - now_s, 0.0)

    def acquire(self, record: Record, cost: int, now_s: float) -> None:
        """Count a record that begins."""
        self.meter.acquire(cost, now_s)
        if self._released:
            self.pending = max(0, self.pending - self._released.pop(record, 0))
            self._patience_s = PATIENCE_S

    def give_up_turn(self, record: Record) -> bool:
        """Take back the release of a record that has ended without beginning; returns whether others may want it."""
        cost = self._released.pop(record, 0)
        self.pending = max(0, self.pending - cost)
        return self.is_full and cost > 0

    # ---- records that wait, and the looks that release them

    def note_full(self, cost: int) -> None:
        """Let all records wait, since one of this cost has found no room; it is the first where none waits."""
        if not self.is_full:
            self.is_full, self.least = True, cost
        self.is_waited_for = True

    def note_waiting(self) -> None:
        """Note that a record is about to wait, so that the next look is to release it."""
        self.is_waited_for = True

    def plan_look(self, at_s: float) -> bool:
        """Plan a look for this time; False where an earlier one is planned."""
        is_first = at_s < self.asks_at_s
        if is_first:
            self.asks_at_s = at_s
        return is_first

    def end_look(self, at_s: float) -> bool:
        """Take the look that was planned for this time; False where another one has come in its stead."""
        is_planned = self.asks_at_s == at_s
        if is_planned:
            self.asks_at_s = math.inf
        return is_planned

    def note_looked(self, cost: int, now_s: float, *, is_waited_for: bool) -> float:
        """Note what a look has left: whether records wait, and the cost of the first. Full no more if none is to come.

        Returns:
            When the next look is due; `math.inf` where an event causes it.
        """
        self.least, self.is_waited_for = cost, is_waited_for
        if is_waited_for:
            return now_s + self.next_look_s(cost, now_s)
        if self.credits:  # there is room, and nothing to release: a look at once would be one of very many
            return now_s + self.patience_left_s(now_s)
        if self.asks_at_s == math.inf:  # else a record is about to wait
            self.is_full = False
        return math.inf

    # ---- jobs that are refused by the other side

    def hold_until(self, until_at_s: float) -> None:
        """Let nothing begin until then, and report that to the workers that share the limit."""
        self.note_held(until_at_s)
        self._has_hold_to_report = True

    def note_held(self, until_at_s: float) -> None:
        """Let nothing begin until then: a job has asked for that, here or in another worker."""
        self.held_until_at_s = max(self.held_until_at_s, until_at_s)

    def pop_hold_ms(self, now_s: float) -> int:
        """For how long the other workers are to hold the scope; returned once, 0 where there is nothing to report."""
        has_hold, self._has_hold_to_report = self._has_hold_to_report, False
        return max(0, math.ceil((self.held_until_at_s - now_s) * 1_000)) if has_hold else 0

    # ---- room

    def budget(self, now_s: float) -> int:
        """How much cost may be released: the room, less the released records that have not begun."""
        if now_s < self.held_until_at_s:
            return 0
        if (self.pending or self.credits) and now_s - self._last_release_at_s >= self._patience_s:
            self.pending, self.credits = 0, 0
            self._patience_s = min(LONGEST_PATIENCE_S, 2 * self._patience_s)
            self._released = {record: cost for record, cost in self._released.items() if record.assignment.is_current}
        return LIFTED_BUDGET if self.is_lifted else self.meter.room(now_s) - self.pending

    def add_released(self, costs: Mapping[Record, int], credits: int, now_s: float) -> None:
        """Let these records pass, and so many more as they come back from aside."""
        self._released.update(costs)
        self.credits += credits
        self.pending += sum(costs.values()) + credits
        if costs or credits:
            self._last_release_at_s = now_s

    def next_look_s(self, cost: int, now_s: float) -> float:
        """How long until the first waiting record, of this cost, may be released."""
        meter_s = 0.0 if self.is_lifted else self.meter.wait_s(self.meter.clipped(cost) + self.pending, now_s)
        if self.is_lifted and self.pending:
            meter_s = self._patience_s
        wait_s = max(meter_s, self.held_until_at_s - now_s)
        if self.pending:
            wait_s = min(wait_s, self.patience_left_s(now_s))
        return max(wait_s, 0.0)

    def patience_left_s(self, now_s: float) -> float:
        """How long released records keep their place; they keep it while the scope is held by a job."""
        return max(0.0, self._last_release_at_s + self._patience_s - now_s, self.held_until_at_s - now_s)

    def room_in_s(self, now_s: float) -> float:
        """How long until there is room for the first waiting record."""
        meter_s = 0.0 if self.is_lifted else self.meter.free_in_s(self.least, now_s)
        return max(meter_s, self.held_until_at_s - now_s, 0.0)

    def change(self, in_force: InForce, now_s: float) -> None:
        """Keep the limit that is in force from now on."""
        self.is_lifted = in_force.is_lifted
        self.meter.change(in_force.limit, now_s)
        self.least = self.meter.clipped(self.least)

    def is_idle(self, now_s: float) -> bool:
        """Whether the scope can be forgotten: a new one would give the same answers."""
        is_open = not self.is_full and now_s >= self.held_until_at_s
        may_begin = any(record.assignment.is_current for record in self._released)
        return is_open and not may_begin and self.meter.is_idle(now_s)
