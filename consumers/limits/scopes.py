"""`Scopes`: all scopes of one queue's limits in this process, those that are full, and the lock that guards all."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from itertools import count
from threading import Lock
from typing import Final

from ..gates.gate import Wait
from ..gates.gate_row import GateRow
from ..records.record import Record
from .accounts import Accounts
from .queue_keepers import AnyKeeper
from .scope import Scope

FEW_SCOPES: Final = 1_000


class Scopes:
    """Shared by `Limits`, which counts runs, and by all that sees the same scopes from elsewhere.

    A scope that has no room for a record is *full*: later records wait behind it, in the order in which they came,
    until nothing waits any more. `note_full` and `look_at` are for those who hold the lock, all else for
    those who do not.

    Attributes:
        lock: guards scopes, meters and accounts. A thread that holds it calls no method of `GateRow`: runners need it
            for each job, so it is held for moments only.
        keepers: {name of a limit: its keeper, which has the scopes}.
        accounts: those of the records.
        clock: the monotonic clock by which meters count.
    """

    def __init__(
        self, keepers: Mapping[str, AnyKeeper], accounts: Accounts, row: GateRow, clock: Callable[[], float]
    ) -> None:
        """Begin without scopes."""
        self.keepers, self.accounts, self.clock = keepers, accounts, clock
        self.lock = Lock()
        self._row = row
        self._full: set[Scope] = set()
        self._looks: list[tuple[float, int, Scope]] = []
        self._numbers = count()
        self._most = FEW_SCOPES

    @property
    def have_room(self) -> bool:
        """Whether no scope is full, so that nothing waits for room."""
        return not self._full

    def count_waiting(self, scope: Scope) -> int:
        """How many records wait for a scope; none where it is not full."""
        return self._row.view.count_waiting(scope.why) if scope.is_full else 0

    # ---- for those who hold the lock

    def note_full(self, scope: Scope, cost: int, now_s: float) -> Wait:
        """Note that a scope has no room for a record of this cost: its records wait from now on."""
        scope.note_full(cost)
        self._full.add(scope)
        self.look_at(scope, now_s + scope.next_look_s(cost, now_s))
        return Wait(until_at_s=None, why=scope.why)

    def look_at(self, scope: Scope, at_s: float) -> None:
        """Plan a look at a scope for this time, unless an earlier one is planned."""
        if scope.plan_look(at_s):
            heapq.heappush(self._looks, (at_s, next(self._numbers), scope))

    # ---- the end of a wait

    @property
    def look_in_s(self) -> float | None:
        """How long until the next planned look; None without one."""
        with self.lock:
            return max(0.0, self._looks[0][0] - self.clock()) if self._looks else None

    def turn(self) -> None:
        """Look at the scopes whose time has come, and forget idle ones where there are very many."""
        if self._looks:
            for scope in self._due():
                self.release_fitting(scope)
        if self._count() > self._most:
            self._forget_idle()

    def _due(self) -> list[Scope]:
        due: list[Scope] = []
        with self.lock:
            now_s = self.clock()
            while self._looks and self._looks[0][0] <= now_s:
                at_s, _, scope = heapq.heappop(self._looks)
                if scope.end_look(at_s):
                    due.append(scope)
        return due

    def release_fitting(self, scope: Scope) -> None:
        """Release the first waiting records, as many as there is room for."""
        with self.lock:
            budget = scope.budget(self.clock())
        costs: dict[Record, int] = {}
        blocked: list[int] = []
        left = budget

        def fits(record: Record) -> bool:
            nonlocal left
            cost = scope.meter.clipped(self.accounts.cost_of(record))
            if cost > left:
                blocked.append(cost)
                return False
            costs[record] = cost
            left -= cost
            return True

        records = self._row.wait_set.take_while(scope.why, fits)
        aside = 0 if blocked else self._row.aside.release_some(scope.why, left)
        with self.lock:
            scope.add_released(costs, aside, self.clock())
        self._row.wait_set.make_ready(records)
        self._look_again(scope, blocked[0] if blocked else 1)

    def _look_again(self, scope: Scope, cost: int) -> None:
        is_waited_for = self._row.view.count_waiting(scope.why) > 0
        with self.lock:
            now_s = self.clock()
            next_at_s = scope.note_looked(cost, now_s, is_waited_for=is_waited_for)
            if next_at_s < scope.asks_at_s:
                self.look_at(scope, next_at_s)
            elif not scope.is_full:
                self._full.discard(scope)
        if not self._full:
            self._row.note_resting()

    def _count(self) -> int:
        return sum(len(keeper.scopes) for keeper in self.keepers.values())

    def _forget_idle(self) -> None:
        with self.lock:
            for keeper in self.keepers.values():
                keeper.forget_idle(self.clock())
            self.accounts.forget()
            self._most = max(FEW_SCOPES, 2 * self._count())
