"""`State`: where a job is, as one word; and the order in which the words of one attempt follow each other."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from ...topology.declaration.topics import Role


class State(IntEnum):
    """The state of a job. The numbers are those of the file."""

    QUEUED = 0
    DELAYED = 1
    RETRYING = 2
    DONE = 3
    DEAD = 4
    CANCELLED = 5
    EXPIRED = 6
    DISCARDED = 7
    DEFERRED = 8
    SNOOZED = 9
    DEAD_DISCARDED = 10

    @property
    def shown(self) -> str:
        """The state as people write it: `dead-discarded`."""
        return self.name.lower().replace("_", "-")

    @property
    def has_ended(self) -> bool:
        """Whether the job will not run again by itself."""
        return self in ENDED


ENDED: Final = frozenset(
    {State.DONE, State.DEAD, State.CANCELLED, State.EXPIRED, State.DISCARDED, State.DEAD_DISCARDED},
)
SHOWN_STATES: Final = {state.shown: state for state in State}
EVENT_STATES: Final = {
    "retried": State.RETRYING,
    "dead": State.DEAD,
    "snoozed": State.SNOOZED,
    "deferred": State.DEFERRED,
    "expired": State.EXPIRED,
    "discarded": State.DISCARDED,
    "cancelled": State.CANCELLED,
}
"""{kind of event: the state of its job from then on}."""
REASON_STATES: Final = {
    b"failed": State.RETRYING,
    b"snoozed": State.SNOOZED,
    b"delayed": State.DELAYED,
    b"unknown-type": State.DEFERRED,
    b"unknown-schema": State.DEFERRED,
}
"""{`stoker-reason` of a record that waits: the state of its job}."""

STEPS: Final = 8
_OF_ROLE: Final = {Role.RETRY: 2, Role.DELAY: 2, Role.CARRIED: 2, Role.DEAD: 6}
_EVENT_STEP: Final = 1
"""The step of a job that waits by an event: its record in a tier, which comes about then, has the place as well."""
_DEAD_EVENT_STEP: Final = 4
"""The step of a dead letter by its event: its record has the place by which it is discarded."""
ENDED_STEP: Final = 7
RECONCILED_STEP: Final = 6
"""The step of a job that only the ledger has as ended: an event that comes late after all knows more."""


COMMITTED_STEP: Final = 5
"""The step of a job that only its group's commit shows as ended: the ledger or an event may still show how."""


def step_of_record(attempt: int, role: Role) -> int:
    """How far a job is by a record of it: of the same attempt, one in a tier was on the main topic before."""
    return attempt * STEPS + _OF_ROLE.get(role, 0)


def step_of_state(attempt: int, state: State) -> int:
    """How far a job is by its event: one that is retried is in the attempt to come."""
    if state is State.RETRYING:
        return (attempt + 1) * STEPS + _EVENT_STEP
    if state is State.DEAD:
        return attempt * STEPS + _DEAD_EVENT_STEP
    return attempt * STEPS + (ENDED_STEP if state in ENDED else _EVENT_STEP)


def attempt_of_step(step: int) -> int:
    """The attempt that a step is of."""
    return step // STEPS


def reconciled_step(step: int) -> int:
    """How far a job is that the ledger has as ended, by the step that it was at."""
    return attempt_of_step(step) * STEPS + RECONCILED_STEP


def committed_step(step: int) -> int:
    """How far a job is that the commits of its group have as ended, by the step that it was at."""
    return attempt_of_step(step) * STEPS + COMMITTED_STEP


def known_from(step: int, state: State) -> str:
    """Where it is known from that a job has ended, if by no event or record of it: the `ledger` or the `commits`.

    >>> [known_from(8 + step, State.DONE) for step in (RECONCILED_STEP, COMMITTED_STEP, ENDED_STEP)]
    ['ledger', 'commits', '']
    """
    if state not in (State.DONE, State.CANCELLED):
        return ""
    return {RECONCILED_STEP: "ledger", COMMITTED_STEP: "commits"}.get(step % STEPS, "")
