"""`GateRow`: asks the gates of one queue for each ready record; those that may not start wait in its `WaitSet`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from enum import Enum
from threading import Lock
from typing import Final

from ..progress.assignment import Assignment
from ..records.outcomes import Outcome
from ..records.record import Record
from .aside_at_gates import AsideAtGates
from .gate import Gate, Wait
from .leaving_records import NO_BOUND, MemoryBound
from .wait_set import Receive, WaitSet
from .waiting import Waiting
from .waiting_view import WaitingView


class Beginning(Enum):
    """The fate of a record whose handler was about to be called."""

    BEGINS = "begins"
    WAITS = "waits"
    """A gate holds it back."""
    ENDS = "ends"
    """A gate would hold it back, but its job is cancelled, or its partition is given away."""


class GateRow:
    """Stands between lanes and runners. Falsy where no gate is to be asked; records may wait all the same.

    Safe to call from all threads. Its lock guards `asked` and `asked_last`, which are replaced together.

    Attributes:
        asked: the gates that do not rest: those to be asked.
        asked_last: those that `begin` asks: also those with hooks that rest.
        has_hooks: whether one of the gates has: `note_ended` is for these.
        wait_set: the records that wait in memory; gates and steps release them.
        aside: those that have left the memory with their lanes.
        view: what waits, for those who only look.
        crashed: why a gate cannot go on; None while all can.
    """

    def __init__(
        self,
        gates: Iterable[Gate] = (),
        *,
        clock: Callable[[], float] = time.time,
        is_cancelled: Callable[[Record], bool] = lambda _record: False,
        bound: MemoryBound = NO_BOUND,
    ) -> None:
        """Begin without records.

        Args:
            is_cancelled: whether the job of a record ends without running, so that no gate is to hold it back.
            bound: on what gates hold back in memory.
        """
        self._clock = clock
        self._is_cancelled = is_cancelled
        self._lock = Lock()
        self._gates: tuple[Gate, ...] = ()
        self.asked: tuple[Gate, ...] = ()
        self.asked_last: tuple[Gate, ...] = ()
        self.has_hooks = False
        self._hooked: tuple[Gate, ...] = ()
        self._counted: set[Record] = set()
        self.crashed: BaseException | None = None
        waiting = Waiting(bound)
        self.wait_set = WaitSet(waiting, is_cancelled)
        self.aside = AsideAtGates(waiting)
        self.view = WaitingView(waiting)
        self.add(gates)

    def __bool__(self) -> bool:
        return bool(self.asked)

    # ---- the gates

    def add(self, gates: Iterable[Gate]) -> None:
        """Add gates behind those that are here; before `start`. They are made after the row, which they call."""
        self._gates += tuple(gates)
        self._hooked = tuple(gate for gate in self._gates if gate.has_hooks)
        self.has_hooks = bool(self._hooked)
        self.note_resting()

    def note_resting(self) -> None:
        """Note that a gate rests, or rests no more."""
        with self._lock:
            self.asked = asked = tuple(gate for gate in self._gates if not gate.is_resting)
            self.asked_last = tuple(gate for gate in self._gates if gate in asked or gate.has_hooks)

    def note_crash(self, error: BaseException) -> None:
        """Note that a gate cannot go on: the worker stops."""
        self.crashed = error

    def start(self, receive: Receive) -> None:
        """Start the gates; `receive` makes records ready, and so asks the gates again."""
        self.wait_set.start(receive)
        for gate in self._gates:
            gate.start()

    def stop(self) -> None:
        """Stop the gates, once no job runs any more; `wait_set` stops before that, and holds nothing meanwhile."""
        for gate in self._gates:
            gate.stop()

    # ---- records

    def admit(self, records: list[Record]) -> list[Record]:
        """Return the ready records that may start; the others wait here."""
        return [record for record in records if self.admits(record)]

    def admits(self, record: Record) -> bool:
        """Whether this record may start; if not, it waits here.

        True also where its partition is given away: the next step ends it.
        """
        while True:
            releases = self.wait_set.releases
            wait = self._ask(record)
            if wait is None:
                return True
            is_kept = self.wait_set.add_held_back(record, wait, releases)
            if is_kept is not None:
                return not is_kept

    def begin(self, record: Record) -> Beginning:
        """Ask the gates for the last time: the handler of this record is called next. All of them count it, or none.

        The row keeps a record that a gate holds back.
        """
        while True:
            releases = self.wait_set.releases
            wait = self._acquire(record)
            if wait is None:
                return Beginning.BEGINS
            if self._is_cancelled(record):
                return Beginning.ENDS
            is_kept = self.wait_set.add_held_back(record, wait, releases)
            if is_kept is not None:
                return Beginning.WAITS if is_kept else Beginning.ENDS

    def _acquire(self, record: Record) -> Wait | None:
        """Have all gates count a record. If one of them holds it back, no gate counts it, and its wait is returned."""
        gates, now_s = self.asked_last, self._clock()
        for gate in gates:
            answer = gate.acquire(record, now_s)
            if isinstance(answer, Wait):
                for earlier in gates[: gates.index(gate)]:
                    earlier.give_back(record)
                return answer
        if self.has_hooks:
            self._counted.add(record)
        return None

    def note_ended(self, record: Record, outcome: Outcome) -> None:
        """Note that a record has an outcome: its run is over if gates have counted it, and else it never began."""
        is_counted = record in self._counted
        self._counted.discard(record)
        for gate in self._hooked:
            if is_counted:
                gate.ended(record, outcome)
            else:
                gate.note_unbegun(record)

    def _ask(self, record: Record) -> Wait | None:
        now_s = self._clock()
        for gate in self.asked:
            answer = gate.may_start(record, now_s)
            if isinstance(answer, Wait):
                return None if self._is_cancelled(record) else answer
        return None

    # ---- what concerns all gates

    def hold_until(self, record: Record, until_at_s: float) -> None:
        """Hold the jobs that gates count together with this one until this epoch time."""
        for gate in self._gates:
            gate.hold_until(record, until_at_s)

    def begin_assignment(self, assignment: Assignment) -> None:
        """Note that a partition is this worker's from now on."""
        for gate in self._hooked:
            gate.begin_assignment(assignment)

    @property
    def next_at_s(self) -> float | None:
        """The epoch time at which `ask_again` has something to do; None while nothing waits for a time."""
        return min(filter(None, (self.wait_set.next_at_s, self._look_at_s)), default=None)

    @property
    def _look_at_s(self) -> float | None:
        """The epoch time at which a gate with hooks has something to release."""
        look_in_s = [gate.look_in_s for gate in self._hooked]
        known = [in_s for in_s in look_in_s if in_s is not None]
        return self._clock() + min(known) if known else None

    def ask_again(self) -> None:
        """Make the records ready whose time has come; the poll thread calls it in each turn."""
        for gate in self._hooked:
            gate.turn()
        self.wait_set.release_due(self._clock())


NO_GATES: Final = GateRow()
"""Where nothing holds a record back."""
