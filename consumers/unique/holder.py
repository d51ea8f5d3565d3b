"""`Holder`: the job that holds an identity, and what of a new one's arrival was in its life. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from ...topology.declaration.unique import Unique, While
from ..progress.assignment import Place
from .arrival import Arrival


class HolderPhase(Enum):
    """Where a holder is.

    WAITING: in a retry tier or a delay topic.
    RUNNING: its turn has come.
    ENDED: its job has run and has ended.
    """

    WAITING = "waiting"
    RUNNING = "running"
    ENDED = "ended"


@dataclass(slots=True, kw_only=True)
class Holder:
    """The job that holds an identity. There is one for each identity; its methods change it with each of its records.

    Attributes:
        arrival: when it came.
        first_ms: when the first job came that this one puts off; its own arrival where there is none.
        due_ms: until when it waits; None where it has no time.
        kept_due_ms: the due time of the job that it has replaced.
        turn_ms: when its present turn came.
        began_ms, stopped_ms: when its last run began and ended; None where it has not run, or that run goes on.
        ended_ms: when its job ended.
        place: where it waits, once that is known.
    """

    arrival: Arrival
    first_ms: int
    phase: HolderPhase = HolderPhase.RUNNING
    due_ms: int | None = None
    kept_due_ms: int | None = None
    turn_ms: int = 0
    began_ms: int | None = None
    stopped_ms: int | None = None
    ended_ms: int | None = None
    place: Place | None = None

    def state_at(self, at_ms: int) -> While | None:
        """In which state it was when another job came, as far as that is known; None where it had ended."""
        if self.ended_ms is not None and at_ms >= self.ended_ms:
            return None
        if self.phase is HolderPhase.RUNNING:
            return "running" if at_ms >= self.turn_ms else "waiting"
        is_running = self.began_ms is not None and self.began_ms <= at_ms < (self.stopped_ms or at_ms)
        return "running" if is_running else "waiting"

    def is_in_the_way_of(self, newcomer: Arrival, rule: Unique) -> bool:
        """Whether a new job ends as its duplicate."""
        if self.is_within(newcomer, rule) and not newcomer.is_replay_of(self.arrival):
            return True
        state = self.state_at(newcomer.at_ms)
        if not rule.replaces and self.phase is HolderPhase.WAITING and "waiting" in rule.states:
            return True  # it will run yet
        return state is not None and state in rule.states and (state == "running" or not rule.replaces)

    def is_within(self, newcomer: Arrival, rule: Unique) -> bool:
        """Whether a new job came too soon after this one."""
        return newcomer.at_ms < self.arrival.at_ms + rule.within_ms

    def put_off_since(self, own: Arrival) -> int:
        """When the first job came that a later one puts off with this one.

        A job that has run puts nothing off any more: a retry of it is replaced by the first of a new series.
        """
        return own.at_ms if self.began_ms is not None else self.first_ms

    def take_over(self, due_ms: int | None, first_ms: int) -> None:
        """Take over the due time of the jobs that this one replaces, and the instant when the first of them came."""
        self.kept_due_ms, self.first_ms = due_ms, first_ms

    def note_first(self, first_ms: int) -> None:
        """Note when the first job came that this one puts off, as its own record has it."""
        self.first_ms = first_ms

    def begin_turn(self, now_ms: int) -> None:
        """Note that its turn has come; it may have had others before."""
        self.phase, self.turn_ms, self.ended_ms = HolderPhase.RUNNING, now_ms, None

    def wait_until(self, due_ms: int) -> None:
        """Note that it waits in a retry tier or a delay topic."""
        self.phase, self.due_ms = HolderPhase.WAITING, due_ms

    def note_place(self, place: Place) -> None:
        """Note where it waits."""
        self.place = place

    def note_run(self, now_ms: int) -> None:
        """Note that its run has ended; one that ends late may have had its turn in an earlier assignment."""
        self.began_ms, self.stopped_ms = self.turn_ms or self.arrival.at_ms, now_ms

    def end(self, now_ms: int) -> None:
        """Note that its job has ended."""
        self.phase, self.ended_ms = HolderPhase.ENDED, now_ms
