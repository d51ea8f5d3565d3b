"""`Schedule`: jobs that are enqueued again and again, as the application declares them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, TypeAlias, TypedDict

from .job_type import InvalidDeclaration, JobCall
from .queue import Queue
from .timing import LONGEST, LONGEST_DAYS, Timing

Missed = Literal["skip", "latest", "all"]
"""The policy for instants that no worker has fired in time.

skip: they are left out. latest: one job, for the last of them. all: a job for each, of the last `missed_limit`.
"""
Overlap = Literal["allow", "skip", "wait"]
"""The policy for an instant while the job of the one before has not ended.

allow: both run. skip: it is left out. wait: its job runs after the other.
"""
MISSED: Final = ("skip", "latest", "all")
OVERLAPS: Final = ("allow", "skip", "wait")

MakeCalls: TypeAlias = Callable[[datetime], JobCall | Iterable[JobCall]]
"""Makes the jobs of an instant, which it gets in UTC."""

MOST_MISSED: Final = 10_000
_NAME: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,98}[A-Za-z0-9])?")
_OWN_IDS: Final = ("job_id", "idempotency_key", "delay", "at")


class ScheduleOptions(TypedDict, total=False):
    """The options of `Pipeline.schedule`; `Schedule` documents each."""

    missed: Missed
    missed_limit: int
    grace: timedelta
    overlap: Overlap
    jitter: timedelta
    start: datetime | None
    end: datetime | None
    owner: str
    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """When jobs are enqueued again and again.

    Attributes:
        name: 1 to 100 of letters, digits, `.`, `_` and `-`; part of the ids of its jobs.
        timing: `cron(...)` or `every(...)`.
        call: the job of each instant, or a function that makes one or several of the instant.
        queue: where its jobs go; its workers fire them.
        missed: what becomes of instants that no worker has fired within `grace`.
        missed_limit: of `missed="all"`: so many of them at the most, the last ones.
        grace: how long an instant may be overdue and is not missed; like `jitter`, 36,500 days at the most.
        overlap: what becomes of an instant while the job of the one before has not ended.
        jitter: each job is enqueued up to so much later, by chance but always alike for one instant.
        start, end: the first and the last instant at which it may fire; aware.
        owner, description: for those who look at it.
    """

    name: str
    timing: Timing
    call: JobCall | MakeCalls
    queue: Queue
    missed: Missed = "latest"
    missed_limit: int = 100
    grace: timedelta = timedelta(minutes=5)
    overlap: Overlap = "allow"
    jitter: timedelta = timedelta(0)
    start: datetime | None = None
    end: datetime | None = None
    owner: str = ""
    description: str = ""

    def __post_init__(self) -> None:
        """Refuse what cannot be.

        Raises:
            InvalidDeclaration: all faults together.
        """
        faults = [*_name_faults(self.name), *self._choice_faults(), *self._time_faults()]
        if isinstance(self.call, JobCall):
            faults += _call_faults(self.call, self.queue)
        elif not callable(self.call):
            faults.append("its call must be job_type.call(...), or a function of the instant that makes one")
        if faults:
            raise InvalidDeclaration(f"schedule {self.name!r}", faults)

    def _choice_faults(self) -> list[str]:
        faults = []
        if self.missed not in MISSED:
            faults.append(f"missed must be one of {', '.join(MISSED)}; it is {self.missed!r}")
        if self.overlap not in OVERLAPS:
            faults.append(f"overlap must be one of {', '.join(OVERLAPS)}; it is {self.overlap!r}")
        if not 1 <= self.missed_limit <= MOST_MISSED:
            faults.append(f"missed_limit must be 1 to {MOST_MISSED:,}; it is {self.missed_limit}")
        return faults

    def _time_faults(self) -> list[str]:
        lengths = (("grace", self.grace), ("jitter", self.jitter))
        faults = [f"{name} must not be negative; it is {length}" for name, length in lengths if length < timedelta(0)]
        faults += [
            f"{name} must be {LONGEST_DAYS:,} days at the most; it is {length}"
            for name, length in lengths
            if length > LONGEST
        ]
        bounds = [("start", self.start), ("end", self.end)]
        faults += [
            f"{name} has no time zone: give an aware datetime"
            for name, instant in bounds
            if instant is not None and instant.tzinfo is None
        ]
        if not faults and self.start is not None and self.end is not None and self.end < self.start:
            faults.append(f"it ends ({self.end.isoformat()}) before it starts ({self.start.isoformat()})")
        return faults

    def calls_at(self, instant: datetime) -> list[JobCall]:
        """The jobs of one instant; an exception of the application's function passes through.

        Raises:
            InvalidDeclaration: the function has made something else, or jobs of another queue.
        """
        if isinstance(self.call, JobCall):
            return [self.call]
        made = self.call(instant.astimezone(UTC))
        calls = [made] if isinstance(made, JobCall) else list(made)
        faults = [fault for call in calls for fault in _made_faults(call, self.queue)]
        if faults:
            raise InvalidDeclaration(f"schedule {self.name!r}", sorted(set(faults)))
        return calls


def _name_faults(name: str) -> list[str]:
    if isinstance(name, str) and _NAME.fullmatch(name):
        return []
    return ["its name must be 1 to 100 of A-Z, a-z, 0-9, '.', '_' and '-', beginning and ending with letter or digit"]


def _made_faults(call: object, queue: Queue) -> list[str]:
    if not isinstance(call, JobCall):
        return [f"its function has made a {type(call).__name__}; return job_type.call(...), or several of these"]
    return _call_faults(call, queue)


def _call_faults(call: JobCall, queue: Queue) -> list[str]:
    faults = []
    if call.job_type.queue is not queue:
        faults.append(f"job type {call.job_type.name!r} is of queue {call.job_type.queue.name!r}, not {queue.name!r}")
    given = [name for name in _OWN_IDS if getattr(call.options, name) is not None]
    if given:
        faults.append(
            f"its jobs cannot have {' and '.join(given)} of their own: their ids and times are the schedule's"
        )
    expires = call.options.expires
    if isinstance(expires, datetime):
        faults.append("its jobs cannot all expire at one instant: give expires as a timedelta")
    elif isinstance(expires, timedelta) and not timedelta(0) < expires <= LONGEST:
        faults.append(f"expires must be more than 0, and {LONGEST_DAYS:,} days at the most; it is {expires}")
    return faults
