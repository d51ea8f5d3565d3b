"""`Limits`: the gate that keeps a queue's declared limits; it counts each run where its handler is called."""

from __future__ import annotations

import heapq
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from threading import Lock
from typing import Final, Protocol

from ...schemas import wire_text
from ...topology.declaration.job_type import AnyJobType
from ...topology.declaration.limits import Limit
from ...topology.declaration.queue import Queue
from ...topology.wire.headers import JOB_ID, JOB_TYPE
from ..gates.gate import START, Gate, Start, Wait
from ..gates.gate_row import GateRow
from ..meters.reserved_meter import ReservedMeter
from ..records.assignment import Assignment
from ..records.job_fields import job_fields
from ..records.outcomes import Outcome
from ..records.record import Record
from .accounts import Account, Accounts
from .closed_types import ClosedTypes
from .keepers import Keepers
from .reports import LimitReports
from .reserved_limits import LimitReservations
from .scope import Scope
from .shared_limits import LimitSharing

_LOGGER = logging.getLogger("stoker.limits")

FEW_SCOPES: Final = 1_000


class Startable(Protocol):
    """A thread."""

    def start(self) -> None:
        """Start it."""

    def stop(self) -> None:
        """End it soon."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitPeers:
    """How other processes take part in the limits of a queue.

    Attributes:
        givers: {name of a shared limit: queue whose first partition's owner gives it}.
        is_reserving: whether owners of partitions reserve what they use of limits by key and tenant.
        make_threads: make the threads that ask for shares, and write reservations.
    """

    givers: Mapping[str, str] = field(default_factory=dict)
    is_reserving: bool = False
    make_threads: Sequence[Callable[[Limits], Startable]] = ()


class Limits(Gate):
    """The limits of one queue and of its job types in this process. Safe to call from all threads.

    A scope that has no room for a record is *closed*: later records wait behind it, in the order in which they came,
    until nothing waits any more. So a first look costs nothing while no scope is closed (`is_resting`).

    Attributes:
        in_force: {name: limit} as they are kept; another object after each change.
        reports: of them, for people.
        sharing, reservations: those that several workers keep together, and those of which reservations are written.
    """

    def __init__(
        self,
        row: GateRow,
        queue: Queue,
        job_types: Mapping[str, AnyJobType],
        *,
        peers: LimitPeers = LimitPeers(),
        clock: Callable[[], float] = time.monotonic,
        epoch: Callable[[], float] = time.time,
    ) -> None:
        """Begin without scopes."""
        self._row, self._clock, self._epoch = row, clock, epoch
        self._queue_name = queue.name
        self._closed_types = ClosedTypes(row.note_resting)
        self._lock = Lock()
        self._numbers = count()
        own = [job_type for job_type in job_types.values() if job_type.queue is queue]
        wanting = set[ReservedMeter]()
        found = Keepers(queue, own, peers.givers, wanting if peers.is_reserving else None)
        self._keepers, self._of_others, self._all = found.of_types, found.of_queue, found.all
        self._accounts = Accounts(found, own)
        self._make_threads = peers.make_threads
        self._threads: list[Startable] = []
        self._runs: dict[Record, Account] = {}
        self._closed: set[Scope] = set()
        self.in_force: Mapping[str, Limit] = self.declared
        self.reports = LimitReports(self._all, row, self._lock, clock)
        self.sharing = LimitSharing(
            found.shared, row, self._lock, clock=clock, open_scope=self._open, reports=self.reports
        )
        self.sharing.in_force = self.in_force
        self.reservations = LimitReservations(
            found.reserved, wanting, row, self._lock, clock=clock, open_scope=self._open
        )
        self._looks: list[tuple[float, int, Scope]] = []
        self._most_scopes = FEW_SCOPES

    @property
    def has_hooks(self) -> bool:
        """Whether any limit is declared."""
        return bool(self._all)

    @property
    def is_resting(self) -> bool:
        """Whether nothing waits for room."""
        return not (self._closed or self._closed_types)

    def may_start(self, record: Record, now_s: float) -> Start | Wait:
        """Records wait where others wait before them, and those of a type that is closed."""
        if self._closed_types.until_at_s and (wait := self._closed_types.wait(record, now_s)) is not None:
            return wait
        with self._lock:
            uses = self._accounts.of(record).uses
            closed = next((scope for scope, _ in uses if not scope.may_pass(record)), None)
            if closed is None:
                return START
            if closed.asks_at_s == math.inf or not closed.is_waited_for:  # all that waited may have been released
                closed.is_waited_for = True
                self._look_at(closed, self._clock())
            return Wait(until_at_s=None, why=closed.why)

    def take(self, record: Record, now_s: float) -> Start | Wait:
        """Count the record in all of its scopes, or in none."""
        if self._closed_types.until_at_s and (wait := self._closed_types.wait(record, now_s)) is not None:
            return wait
        with self._lock:
            now_s, account = self._clock(), self._accounts.of(record)
            lone = account.lone
            is_taken = lone is not None and lone[0].takes(lone[1], now_s)
            refused = None if is_taken else self._take(record, account, now_s)
            if refused is None:
                if self._all:
                    self._runs[record] = account
                return START
        self._row.note_resting()
        return refused

    def _take(self, record: Record, account: Account, now_s: float) -> Wait | None:
        """Count a record in all scopes of its account; where one has no room, that closes, and none counts it."""
        for scope, cost in account.uses:
            if scope.wait_s(record, cost, now_s) > 0.0:
                return self._close(scope, cost, now_s)
        for scope, cost in account.uses:
            scope.take(record, cost, now_s)
        return None

    def give_back(self, record: Record) -> None:
        """Count it no more."""
        with self._lock:
            now_s = self._clock()
            for scope, cost in self._runs.pop(record).uses:
                scope.meter.give_back(cost, now_s)
                if scope.is_closed:
                    self._look_at(scope, now_s)

    def ended(self, record: Record, outcome: Outcome) -> None:
        """Free its slots, and let the next ones have them."""
        account = self._runs.pop(record)
        if not account.has_slots:
            return
        with self._lock:
            freed = [scope for scope, cost in account.uses if scope.meter.end(cost) and scope.is_closed]
        for scope in freed:
            self._open(scope)

    def begin_assignment(self, assignment: Assignment) -> None:
        """Take limits for used up that another worker may have used, as far as it can have."""
        with self._lock:
            if self.reservations:
                self.reservations.begin(assignment)
            if not assignment.is_begun_anew:
                for keeper in self._all.values():
                    keeper.begin(assignment.partition, self._clock())

    # ---- the end of a wait

    @property
    def opens_in_s(self) -> float | None:
        """How long until a scope is to be looked at."""
        with self._lock:
            return max(0.0, self._looks[0][0] - self._clock()) if self._looks else None

    def turn(self) -> None:
        """Look at the scopes whose time has come."""
        if self._looks:
            for scope in self._due():
                self._open(scope)
        if sum(len(keeper.scopes) for keeper in self._all.values()) > self._most_scopes:
            self._forget_idle()

    def _due(self) -> list[Scope]:
        due: list[Scope] = []
        with self._lock:
            now_s = self._clock()
            while self._looks and self._looks[0][0] <= now_s:
                at_s, _, scope = heapq.heappop(self._looks)
                if scope.asks_at_s == at_s:
                    scope.asks_at_s = math.inf
                    due.append(scope)
        return due

    def _open(self, scope: Scope) -> None:
        """Release as many of the records that wait as there is room for, the first ones first."""
        with self._lock:
            budget = scope.budget(self._clock())
        costs: dict[Record, int] = {}
        blocked: list[int] = []

        def fits(record: Record) -> bool:
            cost = scope.meter.clipped(self._accounts.cost_of(record))
            if sum(costs.values()) + cost > budget:
                blocked.append(cost)
                return False
            costs[record] = cost
            return True

        records = self._row.take_while(scope.why, fits)
        aside = 0 if blocked else self._row.open_aside(scope.why, budget - sum(costs.values()))
        with self._lock:
            scope.note_released(costs, aside, self._clock())
        self._row.make_ready(records)
        self._look_again(scope, blocked[0] if blocked else 1)

    def _look_again(self, scope: Scope, cost: int) -> None:
        is_waited_for = self._row.count_waiting(scope.why) > 0
        with self._lock:
            now_s = self._clock()
            scope.least = cost
            scope.is_waited_for = is_waited_for
            if is_waited_for:
                self._look_at(scope, now_s + scope.next_look_s(cost, now_s))
            elif scope.credits:  # there is room, and nothing to release: a look at once would be one of very many
                self._look_at(scope, now_s + scope.patience_left_s(now_s))
            elif scope.asks_at_s == math.inf:  # else a record is about to wait
                scope.is_closed = False
                self._closed.discard(scope)
        if not self._closed:
            self._row.note_resting()

    def _close(self, scope: Scope, cost: int, now_s: float) -> Wait:
        scope.is_closed, scope.least = True, scope.least if scope.is_closed else cost
        scope.is_waited_for = True
        self._closed.add(scope)
        self._look_at(scope, now_s + scope.next_look_s(cost, now_s))
        return Wait(until_at_s=None, why=scope.why)

    def _look_at(self, scope: Scope, at_s: float) -> None:
        """Have a scope looked at then, or earlier if that is planned already."""
        if at_s < scope.asks_at_s:
            scope.asks_at_s = at_s
            heapq.heappush(self._looks, (at_s, next(self._numbers), scope))

    # ---- jobs that are refused by the other side

    def close(self, record: Record, until_at_s: float) -> None:
        """Close the scopes of the type's own limits; without any, the type itself in this process."""
        job_type, for_s = record.header(JOB_TYPE) or b"", until_at_s - self._epoch()
        with self._lock:
            keepers = [keeper for keeper in self._keepers.get(job_type, ()) if keeper not in self._of_others]
            scopes = [scope for keeper in keepers if (scope := keeper.scope_of(record)) is not None]
            for scope in scopes:
                scope.close(self._clock() + for_s)
        if not keepers:
            self._closed_types.close(job_type, until_at_s)
        names = [f"limit {scope.why.limit}" for scope in scopes] or [f"job type {wire_text(job_type)}"]
        _LOGGER.info(
            "%s: closed for %.1f s, since job %s raised RateLimited; its jobs wait until then", ", ".join(names), for_s,
            wire_text(record.header(JOB_ID)), extra=job_fields(record, self._queue_name),
        )  # fmt: skip

    # ---- orders

    @property
    def declared(self) -> Mapping[str, Limit]:
        """{name: limit} of those that this gate keeps."""
        return {name: keeper.in_force.declared for name, keeper in self._all.items()}

    def change(self, name: str, limit: Limit, *, is_lifted: bool) -> None:
        """Keep a limit of this name as it is ordered from now on, with what was counted so far."""
        keeper = self._all[name]
        with self._lock:
            now_s = self._clock()
            keeper.in_force.limit, keeper.in_force.is_lifted = limit, is_lifted
            scopes = list(keeper.scopes.values())
            for scope in scopes:
                scope.change(keeper.in_force, now_s)
            self._accounts.forget()
        self.in_force = self.sharing.in_force = {**self.in_force, name: limit}
        for scope in scopes:
            if scope.is_closed:
                self._open(scope)

    # ---- threads

    def start(self) -> None:
        """Start to ask for shares, and to write reservations, where limits need it."""
        self._threads = [make(self) for make in self._make_threads]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ask for no more."""
        for thread in self._threads:
            thread.stop()

    def _forget_idle(self) -> None:
        with self._lock:
            for keeper in self._all.values():
                keeper.forget_idle(self._clock())
            self._accounts.forget()
            self._most_scopes = max(FEW_SCOPES, 2 * sum(len(keeper.scopes) for keeper in self._all.values()))
