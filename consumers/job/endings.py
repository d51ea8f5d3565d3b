"""How a job chooses its end (`Retry`, `Discard`, `Snooze`), and what is raised inside of one that the worker ends."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Final, Literal

LONGEST_WAIT: Final = timedelta(days=3_650)
SNOOZE_HINT: Final = "write how long to wait, such as Snooze(timedelta(minutes=5))"


class Retry(Exception):
    """Raised or returned by a job: this run failed, try again, after the given delay instead of the tier's own.

    It counts as a failed attempt. Any delay is kept, however long: the job moves through the tiers until it is due.

    Raises:
        TypeError: the delay is no `timedelta`.
        ValueError: the delay is negative, or longer than ten years.
    """

    after: timedelta | None = None

    def __init__(self, reason: str = "the job asked for another attempt", *, after: timedelta | None = None) -> None:
        super().__init__(reason)
        self.after = None if after is None else _checked(after)


class Discard(Exception):
    """Raised or returned by a job: it is pointless, now and later. It ends as cancelled, its event has the reason."""

    def __init__(self, reason: str = "the job discarded itself") -> None:
        super().__init__(reason)


class Snooze(Exception):
    """Returned or raised by a job: not yet, run me again after this delay. It costs no attempt.

    Raises:
        TypeError: there is no delay, or it is no `timedelta`.
        ValueError: the delay is negative, or longer than ten years.
    """

    after: timedelta | None = None

    def __init__(self, after: timedelta | None = None) -> None:
        if after is None:
            raise TypeError(f"Snooze needs a delay: {SNOOZE_HINT}")
        super().__init__(_checked(after))
        self.after = after

    def __str__(self) -> str:
        """The delay, in words."""
        return f"the job asked to be run again after {self.after}"

    def __eq__(self, other: object) -> bool:
        """Snoozes of one delay are the same."""
        return type(other) is type(self) and other.after == self.after

    def __hash__(self) -> int:
        """As equality asks."""
        return hash((Snooze, self.after))


class RateLimited(Snooze):
    """Returned or raised by a job: the other side lets nothing more in for so long, as with an HTTP 429.

    The job is snoozed, at no attempt's cost, and no job begins meanwhile in the scopes of its type's own limits; of a
    type without limits, none of this type in this process.

    Raises:
        TypeError: there is no delay, or it is no `timedelta`.
        ValueError: the delay is negative, or longer than ten years.
    """

    def __init__(self, after: timedelta | None = None) -> None:
        if after is None:
            raise TypeError("RateLimited needs a delay: write RateLimited(after=timedelta(seconds=30))")
        super().__init__(after)


def _checked(after: timedelta) -> timedelta:
    if not isinstance(after, timedelta):
        raise TypeError(f"a delay is a timedelta, such as timedelta(seconds=30), not a {type(after).__name__}")
    if not timedelta(0) <= after <= LONGEST_WAIT:
        raise ValueError(f"a job can wait from no time to {LONGEST_WAIT.days} days, not {after}")
    return after


InterruptReason = Literal["timeout", "cancel", "shutdown"]
"""Why the worker ends a run: it passed its limits, its job is not to run any more, or the worker stops."""


class JobInterrupted(BaseException):
    """Raised inside a job that the worker ends; in an async job it is an `asyncio.CancelledError` where the job awaits.

    A cancelled async job gets there an error that is both, `JobCancelled` and `asyncio.CancelledError`.

    Not an `Exception`, so that a job's own `except Exception` does not swallow it. A job may catch it to clean up, and
    then raises it again.
    """


class JobCancelled(JobInterrupted):
    """Raised inside a job that is cancelled while it runs: it ends as cancelled, whatever it raises from then on."""


class _JobCancelledAtAwait(JobCancelled, asyncio.CancelledError):
    """The error that a cancelled async job gets where it awaits; asyncio must know it as a cancellation."""


def cancelled_at_await() -> JobCancelled:
    """The error of a cancelled async job where it awaits."""
    return _JobCancelledAtAwait()


class WorkerShutdown(JobInterrupted):
    """Raised inside a job that runs on when the worker's grace is over: it is delivered again, at no attempt's cost."""


class TimeLimitExceeded(JobInterrupted):
    """Raised inside a job that ran past its timeout, or sent no heartbeat for too long: the run fails with it.

    A job that catches it may end otherwise: by a `Snooze`, a `Discard` or a failure of its own, or done as it returns.

    Attributes:
        timeout_s: how long it may run; 0 where that is not known, as inside the job.
        heartbeat_s: how long it was silent, where that is why it was ended.
    """

    def __init__(self, timeout_s: float = 0.0, heartbeat_s: float | None = None) -> None:
        if heartbeat_s is not None:
            message = f"the job sent no heartbeat for {heartbeat_s:g} s; send them more often, or raise `heartbeat`"
        elif timeout_s:
            message = f"the job ran longer than its timeout of {timeout_s:g} s; let it do less, or raise `timeout`"
        else:
            message = "the job ran longer than its `timeout`, or sent no heartbeat; let it do less, or raise either"
        super().__init__(message)
        self.timeout_s, self.heartbeat_s = timeout_s, heartbeat_s


class MemoryLimitExceeded(Exception):
    """An isolated job held more memory than its `memory_limit_bytes`, and was killed; the run counts as failed."""

    def __init__(self, resident_bytes: int, limit_bytes: int) -> None:
        super().__init__(
            f"the job's process held {resident_bytes:,} bytes, more than its limit of {limit_bytes:,}, and was killed; "
            "raise memory_limit_bytes, or let the job hold less"
        )
        self.resident_bytes, self.limit_bytes = resident_bytes, limit_bytes


INTERRUPTS: Final[Mapping[InterruptReason, type[JobInterrupted]]] = {
    "timeout": TimeLimitExceeded,
    "cancel": JobCancelled,
    "shutdown": WorkerShutdown,
}
"""{reason: what is raised inside of the job}."""
