"""`BreakerGate`: holds back the jobs of one queue whose breaker is open, and counts how the others end."""

from __future__ import annotations

from typing import Final

from ...topology.wire.headers import JOB_TYPE
from ..gates.gate import START, Gate, Start, Wait
from ..gates.gate_row import GateRow
from ..records.outcomes import Dead, Done, Outcome, Retried
from ..records.record import Record
from .breaker_state import BreakerState
from .breakers import BegunJob, BreakerOpen, Breakers

LONGEST_WHY: Final = 300
_NONE: Final[tuple[BreakerState, ...]] = ()


class BreakerGate(Gate):
    """The breakers of the process, at the gates of one queue."""

    def __init__(self, breakers: Breakers, row: GateRow) -> None:
        self._breakers, self._row = breakers, row
        self._needed = breakers.needed()
        self._states = {state for needed in self._needed.values() for state in needed}
        breakers.add_holder(self)

    @property
    def is_resting(self) -> bool:
        """Whether all breakers are closed."""
        return all(state.opening is None for state in self._states)

    @property
    def has_hooks(self) -> bool:
        """It counts how runs end."""
        return True

    def may_start(self, record: Record, now_s: float) -> Start | Wait:
        """A record may not start while a breaker that it needs is open, unless it may probe."""
        for state in self._needed.get(record.header(JOB_TYPE) or b"", _NONE):
            if not state.admits(record):
                return self._wait(state)
        return START

    def _wait(self, state: BreakerState) -> Wait:
        return Wait(until_at_s=None, why=self._breakers.why(state))

    def acquire(self, record: Record, now_s: float) -> Start | Wait:
        """Let a record begin with all of its breakers, or with none."""
        needed = self._needed.get(record.header(JOB_TYPE) or b"")
        if needed is None:
            return START
        taken: list[tuple[BreakerState, int]] = []
        for state in needed:
            began = state.acquire(record)
            if began is None:
                _give_back(record, taken)
                return self._wait(state)
            taken.append((state, began))
        self._breakers.begun[record] = BegunJob(taken)
        return START

    def give_back(self, record: Record) -> None:
        """It does not begin after all."""
        begun = self._breakers.begun.pop(record, None)
        if begun is not None:
            _give_back(record, begun.taken)

    def ended(self, record: Record, outcome: Outcome) -> None:
        """Count how the run has ended, for the breakers of which no block of it has reported."""
        begun = self._breakers.begun.pop(record, None)
        if begun is None:
            return
        failed, why = _failed(outcome), _why(outcome)
        for state, began in begun.taken:
            is_reported = state.target in begun.reported
            state.note(record, began, failed=None if is_reported else failed, why=why)

    # ---- what the breakers call

    def held(self, why: BreakerOpen) -> int:
        """How many records wait here for a breaker; of a lane aside, the first one."""
        return self._row.view.counts().get(why, 0)

    def note_change(self, why: BreakerOpen) -> None:
        """Follow a breaker that has opened or closed: where it is closed, its records ask the gates again."""
        if why.breaker not in self._states:
            return
        self._row.note_resting()
        if why.breaker.opening is None:
            self._row.wait_set.release(why)

    def release_first(self, why: BreakerOpen) -> None:
        """Let the first record go on, which is to probe."""
        self._row.wait_set.release_first(why)


def _give_back(record: Record, taken: list[tuple[BreakerState, int]]) -> None:
    for state, _ in taken:
        state.give_back(record)


def _failed(outcome: Outcome) -> bool | None:
    """Whether a run has failed in a way that another one may not; None where it shows nothing of that."""
    match outcome:
        case Done():
            return False
        case Retried() | Dead(reason="attempts-spent"):
            return True
        case _:
            return None


def _why(outcome: Outcome) -> str:
    if not isinstance(outcome, Retried | Dead):
        return ""
    return f"{outcome.failure.error_type}: {outcome.failure.message}"[:LONGEST_WHY]
