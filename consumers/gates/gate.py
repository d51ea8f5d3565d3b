"""`Gate`: one reason why a ready record may not start now, such as a pause or a limit."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from ..progress.assignment import Assignment
from ..records.outcomes import Outcome
from ..records.record import Record


class Why(Protocol):
    """Why a record waits. Hashable: equal ones are released together."""

    @property
    def state(self) -> str:
        """The state of the job in a word, as metrics, events and commands show it: `paused`."""
        ...

    @property
    def detail(self) -> Mapping[str, str]:
        """Further facts for people; `ends_by` names the event that ends the wait."""
        ...


@dataclass(frozen=True, slots=True)
class PlainWhy:
    """The `Why` of most gates.

    Attributes:
        state: of the job, in a word: `paused`.
        ends_by: what ends the wait, for people: "ann resumes the queue".
    """

    state: str
    ends_by: str

    @property
    def detail(self) -> Mapping[str, str]:
        """The event that ends the wait."""
        return {"ends_by": self.ends_by}


@dataclass(frozen=True, slots=True)
class Start:
    """The record may start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """The record waits.

    Attributes:
        until_at_s: epoch time at which the gates are asked again; None where only `WaitSet.release` ends the wait.
        why: what `release` is called with.
    """

    until_at_s: float | None
    why: Why


START = Start()


class Gate(ABC):
    """Decides which records may start; asked by all threads, and never blocks.

    A gate that lets records pass again calls `WaitSet.release` with the `Why`, after it has begun to answer `START`.

    A gate with *hooks* counts runs: `acquire` is called for a record whose handler is about to be called, then exactly
    one of `give_back` and `ended`. A record that ends without is named to `note_unbegun`. Such a gate sets `has_hooks`;
    a row without such gates calls none of these.
    """

    @property
    def is_resting(self) -> bool:
        """Whether all records may start, so that the gate need not be asked.

        A gate that overrides this calls `GateRow.note_resting` after each change.
        """
        return False

    @property
    def has_hooks(self) -> bool:
        """Whether it overrides one of the hooks; always the same, whether the gate rests or not."""
        return False

    @abstractmethod
    def may_start(self, record: Record, now_s: float) -> Start | Wait:
        """Decide whether this record may start at the epoch time `now_s`.

        The gate may reserve the record's turn, or note that the record waits. It may be asked several times for one
        record, also when the record may start: so asking again changes nothing more.
        """

    def acquire(self, record: Record, now_s: float) -> Start | Wait:
        """Decide for the last time, and count the record if it starts: its handler is called next."""
        return self.may_start(record, now_s)

    def give_back(self, record: Record) -> None:
        """Uncount a record: a later gate holds it back, so it does not start."""
        return

    def ended(self, record: Record, outcome: Outcome) -> None:
        """Follow the end of a counted record's run, with any outcome; `Interrupted` where its child died."""
        return

    def note_unbegun(self, record: Record) -> None:
        """Note that a record has ended without being counted, such as an expired one: its turn is another's."""
        return

    def hold_until(self, record: Record, until_at_s: float) -> None:
        """Hold the jobs that are counted together with this one until this epoch time: a job has asked for it."""
        return

    def begin_assignment(self, assignment: Assignment) -> None:
        """Note that a partition is this worker's from now on; called before any of its records is ready, where the gate
        has hooks.
        """
        return

    @property
    def look_in_s(self) -> float | None:
        """How long until `turn` has something to do; None while it has not. Asked where the gate has hooks."""
        return None

    def turn(self) -> None:
        """Release what may start by now; called by the poll thread in each of its turns, where the gate has hooks."""
        return

    def start(self) -> None:
        """Start what the gate needs, such as the thread by which `Limits` shares limits with other workers."""
        return

    def stop(self) -> None:
        """Stop the parts that `start` has started."""
        return
