"""The result of a run, for `decide`: what its handler returned or raised, here or in a child, or that none ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from ...topology import RetryPolicy
from ..job.answers import Answer, answer_of, fault_of_returned
from ..records.outcomes import Outcome


@dataclass(slots=True)
class Returned:
    """The handler returned a value. `check_returned` has found it to be neither an answer of the job nor a failure."""

    value: object = field(repr=False)  # asyncio writes tasks out with their results


@dataclass(frozen=True, slots=True)
class Raised:
    """The handler raised. `answer` is what the error asks for, or None where the worker has ended the run by it."""

    error: BaseException = field(repr=False)  # as above
    answer: Answer | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Answered:
    """The handler raised in another process. That process has read what the error asks for, and keeps the error."""

    answer: Answer


@dataclass(frozen=True, slots=True)
class Decided:
    """No handler came to its end: the runner has the outcome, or None where the record comes again in a while."""

    outcome: Outcome | None


@dataclass(frozen=True, slots=True)
class HeldBack(Decided):
    """No handler was called: an order, or a gate, has come between the claim and the begin."""


RETURNED_NOTHING = Returned(None)
Result = Returned | Raised
Ran = Result | Answered | Decided


class FailureRules(Protocol):
    """The part of a job type that is needed to read its failures: the name, and the policy's classes of errors."""

    @property
    def name(self) -> str:
        """The name of the job type."""
        ...

    @property
    def retry(self) -> RetryPolicy:
        """The retry policy, whose `permanent` and `ignored` name classes of errors."""
        ...


def check_returned(value: object, rules: FailureRules) -> Returned | Raised:
    """Read what a handler returned: an answer, such as `Retry`, counts as raised, and work not done is a failure."""
    if value is None:
        return RETURNED_NOTHING
    fault = fault_of_returned(value)
    return Returned(value) if fault is None else read_raised(fault, rules)


def read_raised(error: BaseException, rules: FailureRules) -> Raised:
    """Read what a handler raised, at once: this may run the job's own code, which is to happen on the job's time."""
    return Raised(error, answer_of(error, rules.name, rules.retry))


def answer_to(raised: Raised, rules: FailureRules) -> Answer:
    """The answer of a failure; an error of the worker's is read now."""
    return raised.answer or answer_of(raised.error, rules.name, rules.retry)
