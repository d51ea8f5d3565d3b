"""The outcome of one delivery of a job: a value of a closed union, matched exhaustively where it is settled."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from ...topology.declaration.delays import DelayClass
from .cancellation import Cancellation

DeadReason = Literal[
    "attempts-spent",
    "permanent",
    "undecodable",
    "malformed",
    "schema-mismatch",
    "never-known",
    "quarantined",
    "too-large",
]
DeferReason = Literal["unknown-type", "unknown-schema"]
CancelReason = Literal["discarded", "cancelled", "expired", "duplicate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """The description of a failed run, bounded in size so that headers stay small.

    Attributes:
        error_type: qualified class name.
        message: at most `MESSAGE_LIMIT_BYTES` of it.
        stack: the innermost part of the traceback, at most `STACK_LIMIT_BYTES`.
        fingerprint: 16 hex digits, equal for the same job type, error type and line.
    """

    error_type: str
    message: str
    stack: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Done:
    """The job returned, or raised an error that its policy ignores."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """Nothing ran: the ledger has the job as settled, or a copy of it with another priority runs in its place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retried:
    """The run failed; attempt number `next_attempt` shall start at `due`, not before, and waits in `tier`."""

    due: datetime
    tier: timedelta
    next_attempt: int
    failure: Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class Dead:
    """No further run can help: the job goes to the dead letters. It has crashed `crashes` times."""

    reason: DeadReason
    failure: Failure
    crashes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Snoozed:
    """The job asked to be run again later, and waits in the topic of `delay`; that costs no attempt.

    Attributes:
        is_limited: whether no other job of its scopes is to begin until `due`.
    """

    due: datetime
    delay: DelayClass
    is_limited: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Deferred:
    """This worker does not know the job's type or schema, but a newer one may: it waits, at no attempt's cost."""

    due: datetime
    delay: DelayClass
    reason: DeferReason
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Delayed:
    """The record is not due yet: its job goes to the topic of `delay`, and waits there."""

    due: datetime
    delay: DelayClass


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancelled:
    """The job will not run (again): it expired, was cancelled, discarded itself, or is a duplicate.

    Attributes:
        by: who cancelled it, where that is known.
        winner: of a duplicate, the id of the job that counts in its place.
    """

    reason: CancelReason
    detail: str
    by: Cancellation | None = None
    winner: str = ""


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The worker stopped, or lost the partition, before the job ended: it will be delivered again."""


NotDone = Skipped | Retried | Dead | Snoozed | Deferred | Delayed | Cancelled | Interrupted
Outcome = Done | NotDone

DONE = Done()
SKIPPED = Skipped()
INTERRUPTED = Interrupted()


def is_lasting(outcome: Outcome) -> bool:
    """Whether the job, and not only this record of it, is settled by its name in the ledger."""
    return outcome is DONE or (isinstance(outcome, Cancelled) and outcome.reason not in _OF_ONE_RECORD)


_OF_ONE_RECORD: Final = frozenset({"expired", "duplicate"})
"""A job that ends so has not run, and its name stays free: enqueued once more, it may run."""
