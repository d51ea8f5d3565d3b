"""What a job may say about itself: raise `Retry` or `Discard`, or return a `Snooze`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

LONGEST_WAIT = timedelta(days=3_650)


class Retry(Exception):
    """Raised by a job: this run failed, try again, after the given delay instead of the tier's own.

    It counts as a failed attempt. Any delay is kept, however long: the job moves through the tiers until it is due.

    Raises:
        ValueError: the delay is negative, or longer than ten years.
    """

    after: timedelta | None = None

    def __init__(self, reason: str = "the job asked for another attempt", *, after: timedelta | None = None) -> None:
        super().__init__(reason)
        self.after = None if after is None else _checked(after)


class Discard(Exception):
    """Raised by a job: it is pointless, now and later. It ends as cancelled, with the reason in its event."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class Snooze:
    """Returned by a job: not yet, run me again after this delay. It costs no attempt."""

    after: timedelta

    def __post_init__(self) -> None:
        """Refuse what cannot be waited."""
        _checked(self.after)


def _checked(after: timedelta) -> timedelta:
    if not timedelta(0) <= after <= LONGEST_WAIT:
        raise ValueError(f"a job can wait from no time to {LONGEST_WAIT.days} days, not {after}")
    return after


class TimeLimitExceeded(BaseException):
    """Raised inside a job that ran past its timeout, or gave no sign of life for too long; the run counts as failed.

    Not an `Exception`, so that a job's own `except Exception` does not swallow it.

    Attributes:
        timeout_s: how long it may run; 0 where that is not known, as inside the job.
        heartbeat_s: how long it was silent, where that is why it was ended.
    """

    def __init__(self, timeout_s: float = 0.0, heartbeat_s: float | None = None) -> None:
        if heartbeat_s is not None:
            message = f"the job gave no sign of life for {heartbeat_s:g} s"
        elif timeout_s:
            message = f"the job ran longer than its timeout of {timeout_s:g} s"
        else:
            message = "the job ran too long"
        super().__init__(message)
        self.timeout_s, self.heartbeat_s = timeout_s, heartbeat_s


class MemoryLimitExceeded(Exception):
    """An isolated job held more memory than its `memory_limit_bytes`, and was killed; the run counts as failed."""

    def __init__(self, resident_bytes: int, limit_bytes: int) -> None:
        super().__init__(f"the job's process held {resident_bytes:,} bytes, of {limit_bytes:,} that it may")
        self.resident_bytes, self.limit_bytes = resident_bytes, limit_bytes
