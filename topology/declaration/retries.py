"""Retry policies: how often a job is tried, where it waits, which errors are final."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from ..durations import format_duration

DEFAULT_TIERS = (timedelta(seconds=5), timedelta(minutes=1), timedelta(minutes=10), timedelta(hours=2))

ErrorTypes = tuple[type[BaseException], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How the failures of a job are answered.

    Attributes:
        attempts: runs in all, the first one included; 1 means that a failure is final.
        tiers: delays of this policy in order, each one of its queue's tiers; None takes all of the queue's. Attempt n
            waits in tier n, and the last tier repeats.
        jitter: share of the delay that is added at random, 0 to 1, so that jobs that failed together do not return
            together. Never subtracted: a retry is never early.
        permanent: errors that no further attempt can fix; they go to the dead letters at once.
        ignored: errors that count as done.
    """

    attempts: int = 5
    tiers: tuple[timedelta, ...] | None = None
    jitter: float = 0.1
    permanent: ErrorTypes = ()
    ignored: ErrorTypes = ()

    def __post_init__(self) -> None:
        """Take a list as well."""
        if self.tiers is not None:
            object.__setattr__(self, "tiers", tuple(self.tiers))

    def faults(self) -> list[str]:
        """List what is wrong with the values, each with key, wish and value; empty when all is well."""
        found = []
        if self.attempts < 1:
            found.append(f"attempts must be at least 1, the first run included; it is {self.attempts}")
        if not 0 <= self.jitter <= 1:
            found.append(f"jitter is a share of the delay from 0 to 1; it is {self.jitter}")
        if self.tiers is not None:
            found += tier_faults(self.tiers)
        return found

    def delay_before(self, next_attempt: int, queue_tiers: tuple[timedelta, ...], chance: float = 0.0) -> timedelta:
        """How long a job waits before its next attempt: a tier, and jitter on top of it.

        Args:
            next_attempt: number of the run to come, 2 for the first retry.
            queue_tiers: the tiers that the queue has, ascending, at least one.
            chance: from 0 to 1; so much of the jitter is added.

        >>> RetryPolicy(jitter=0.2).delay_before(2, (timedelta(seconds=5),), chance=0.5)
        datetime.timedelta(seconds=5, microseconds=500000)
        """
        tiers = self.tiers or queue_tiers
        return tiers[min(next_attempt - 2, len(tiers) - 1)] * (1 + self.jitter * chance)


def fitting_tier(delay: timedelta, tiers: tuple[timedelta, ...]) -> timedelta:
    """The longest tier that does not overshoot the delay, or else the shortest.

    A record waits there until it is due, also where its delay is longer than the tier's.

    >>> fitting_tier(timedelta(minutes=3), (timedelta(seconds=5), timedelta(minutes=1)))
    datetime.timedelta(seconds=60)
    """
    return max((tier for tier in tiers if tier <= delay), default=tiers[0])


def tier_faults(tiers: tuple[timedelta, ...]) -> list[str]:
    """List what is wrong with a declaration of tiers."""
    if not tiers:
        return ["tiers must hold at least one delay, in which failed jobs wait"]
    found = []
    if any(tier < timedelta(milliseconds=100) for tier in tiers):
        found.append("tiers must be at least 100ms each")
    if list(tiers) != sorted(set(tiers)):
        found.append(f"tiers must ascend without repetition; they are {', '.join(map(format_duration, tiers))}")
    return found
