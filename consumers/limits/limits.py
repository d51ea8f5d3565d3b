"""`Limits`: the gate that keeps a queue's declared limits; it counts each run where its handler is called."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ...schemas import wire_text
from ...topology.declaration.job_type import AnyJobType
from ...topology.declaration.limits import Limit
from ...topology.declaration.queue import Queue
from ...topology.wire.headers import JOB_ID, JOB_TYPE
from ..gates.gate import START, Gate, Start, Wait
from ..gates.gate_row import GateRow
from ..meters.reserved_meter import ReservedMeter
from ..progress.assignment import Assignment
from ..records.job_fields import job_fields
from ..records.outcomes import Outcome
from ..records.record import Record
from .accounts import Account, Accounts
from .held_types import HeldTypes
from .queue_keepers import Keepers
from .reports import LimitReports
from .reserved_limits import LimitReservations
from .scopes import Scopes
from .shared_limits import LimitSharing

_LOGGER = logging.getLogger("stoker.limits")


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
        coordinators: {name of a shared limit: queue whose first partition's owner gives it}.
        is_reserving: whether owners of partitions reserve what they use of limits by key and tenant.
        make_threads: make the threads that ask for shares, and write reservations.
    """

    coordinators: Mapping[str, str] = field(default_factory=dict)
    is_reserving: bool = False
    make_threads: Sequence[Callable[[Limits], Startable]] = ()


class Limits(Gate):
    """The limits of one queue and of its job types in this process. Safe to call from all threads.

    A first look costs nothing while no scope is full (`is_resting`).

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
        self._held_types = HeldTypes(row.note_resting)
        own = [job_type for job_type in job_types.values() if job_type.queue is queue]
        wanting = set[ReservedMeter]()
        found = Keepers(queue, own, peers.coordinators, wanting if peers.is_reserving else None)
        self._keepers, self._of_others, self._all = found.of_types, found.of_queue, found.all
        self._accounts = Accounts(found, own)
        self._scopes = Scopes(found.all, self._accounts, row, clock)
        self._lock = self._scopes.lock
        self._make_threads = peers.make_threads
        self._threads: list[Startable] = []
        self._runs: dict[Record, Account] = {}
        self.in_force: Mapping[str, Limit] = self.declared
        self.reports = LimitReports(self._scopes, row.view)
        self.sharing = LimitSharing(found.shared, self._scopes, self.reports, lambda: self.in_force)
        self.reservations = LimitReservations(found.reserved, wanting, self._scopes)

    @property
    def has_hooks(self) -> bool:
        """Whether any limit is declared."""
        return bool(self._all)

    @property
    def is_resting(self) -> bool:
        """Whether nothing waits for room."""
        return self._scopes.have_room and not self._held_types

    def may_start(self, record: Record, now_s: float) -> Start | Wait:
        """Hold a record whose type is held, or before which others wait."""
        if self._held_types.until_at_s and (wait := self._held_types.wait(record, now_s)) is not None:
            return wait
        with self._lock:
            uses = self._accounts.of(record).uses
            full = next((scope for scope, _ in uses if not scope.take_turn(record)), None)
            if full is None:
                return START
            if full.asks_at_s == math.inf or not full.is_waited_for:  # all that waited may have been released
                full.note_waiting()
                self._scopes.look_at(full, self._clock())
            return Wait(until_at_s=None, why=full.why)

    def acquire(self, record: Record, now_s: float) -> Start | Wait:
        """Count the record in all of its scopes, or in none."""
        if self._held_types.until_at_s and (wait := self._held_types.wait(record, now_s)) is not None:
            return wait
        with self._lock:
            now_s, account = self._clock(), self._accounts.of(record)
            lone = account.lone
            is_taken = lone is not None and lone[0].try_acquire(lone[1], now_s)
            refused = None if is_taken else self._acquire_all(record, account, now_s)
            if refused is None:
                if self._all:
                    self._runs[record] = account
                return START
        self._row.note_resting()
        return refused

    def _acquire_all(self, record: Record, account: Account, now_s: float) -> Wait | None:
        """Count a record in all scopes of its account; where one has no room, that is full, and none counts it."""
        for scope, cost in account.uses:
            if scope.wait_s(record, cost, now_s) > 0.0:
                return self._scopes.note_full(scope, cost, now_s)
        for scope, cost in account.uses:
            scope.acquire(record, cost, now_s)
        return None

    def give_back(self, record: Record) -> None:
        """Count it no more."""
        with self._lock:
            now_s = self._clock()
            for scope, cost in self._runs.pop(record).uses:
                scope.meter.give_back(cost, now_s)
                if scope.is_full:
                    self._scopes.look_at(scope, now_s)

    def ended(self, record: Record, outcome: Outcome) -> None:
        """Free the permits of a run, and release the next records."""
        account = self._runs.pop(record)
        if not account.has_permits:
            return
        with self._lock:
            freed = [scope for scope, cost in account.uses if scope.meter.end(cost) and scope.is_full]
        for scope in freed:
            self._scopes.release_fitting(scope)

    def note_unbegun(self, record: Record) -> None:
        """Release the next records, if this one was released."""
        with self._lock:
            left = [scope for scope, _ in self._accounts.of(record).uses if scope.give_up_turn(record)]
        for scope in left:
            self._scopes.release_fitting(scope)

    def begin_assignment(self, assignment: Assignment) -> None:
        """Count limits as used up as far as another worker may have used them."""
        with self._lock:
            if self.reservations:
                self.reservations.begin(assignment)
            if not assignment.is_begun_anew:
                for keeper in self._all.values():
                    keeper.begin(assignment.partition, self._clock())

    @property
    def look_in_s(self) -> float | None:
        """How long until a scope is to be looked at."""
        return self._scopes.look_in_s

    def turn(self) -> None:
        """Look at the scopes whose time has come."""
        self._scopes.turn()

    # ---- jobs that are refused by the other side

    def hold_until(self, record: Record, until_at_s: float) -> None:
        """Hold the scopes of the type's own limits that count the job; without any limits, the type in this process."""
        job_type, for_s = record.header(JOB_TYPE) or b"", until_at_s - self._epoch()
        with self._lock:
            keepers = [keeper for keeper in self._keepers.get(job_type, ()) if keeper not in self._of_others]
            scopes = [scope for keeper in keepers if (scope := keeper.scope_of(record)) is not None]
            for scope in scopes:
                scope.hold_until(self._clock() + for_s)
        if not keepers:
            self._held_types.hold_until(job_type, until_at_s)
        elif not scopes:
            return  # the job alone waits
        names = [f"limit {scope.why.limit}" for scope in scopes] or [f"job type {wire_text(job_type)}"]
        _LOGGER.info(
            "%s: held for %.1f s, since job %s raised RateLimited; its jobs wait until then", ", ".join(names), for_s,
            wire_text(record.header(JOB_ID)), extra=job_fields(record, self._queue_name),
        )  # fmt: skip

    # ---- orders

    @property
    def declared(self) -> Mapping[str, Limit]:
        """{name: limit} of those that this gate keeps."""
        return {name: keeper.in_force.declared for name, keeper in self._all.items()}

    def change(self, name: str, limit: Limit, *, is_lifted: bool) -> None:
        """Keep the limit of this name as an order has it; the counts so far stay."""
        keeper = self._all[name]
        with self._lock:
            now_s = self._clock()
            keeper.in_force.change(limit, is_lifted=is_lifted)
            scopes = list(keeper.scopes.values())
            for scope in scopes:
                scope.change(keeper.in_force, now_s)
            self._accounts.forget()
        self.in_force = {**self.in_force, name: limit}
        for scope in scopes:
            if scope.is_full:
                self._scopes.release_fitting(scope)

    # ---- threads

    def start(self) -> None:
        """Start to ask for shares, and to write reservations, where limits need it."""
        self._threads = [make(self) for make in self._make_threads]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ask for no more; what no job uses is returned."""
        for thread in self._threads:
            thread.stop()
