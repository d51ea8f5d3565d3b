"""`QueueLoad`: the load of a queue at one moment. `ScalingPolicy`: the wishes for its workers. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from ...topology import Queue, format_duration

TARGET_WAIT: Final = timedelta(seconds=5)
LIMITED: Final = "limited"
"""The word of jobs that wait for a limit, in `QueueLoad.not_runnable`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitAdmission:
    """The most that a limit lets through.

    Attributes:
        limit: its name.
        per_s: jobs that may begin in a second; None where it bounds how many run.
        running: jobs that may run at once; None where it bounds how many begin.
    """

    limit: str
    per_s: float | None = None
    running: int | None = None

    def rate_per_s(self, run_s: float | None) -> float | None:
        """Jobs a second that it lets through; None where that is not known."""
        if self.running is None:
            return self.per_s
        return self.running / run_s if run_s else None


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueLoad:
    """A queue as it was observed. Whatever is not known is None.

    Attributes:
        at_s: a monotonic clock's reading.
        backlog: jobs without an outcome that do not wait by intent, those that run included.
        later: jobs in retry tiers and delays.
        schedules: how many schedules the application declares for it: its workers fire them.
        oldest_s: for how long the oldest of the backlog has waited.
        arriving_per_s: jobs that became ready to run: published ones, and retried and delayed ones.
        done_per_s: runs that ended with an outcome.
        workers: processes that share the queue's partitions.
        runners: jobs that one of them may run at once, on average.
        busy: runners of all workers that had a job when the workers last reported it.
        run_s: how long a run takes, on average.
        not_runnable: {why: jobs of the backlog that no further worker would run}, such as `key`, `paused` or `limited`.
        admissions: the limits that count all jobs of the queue.
        is_settled: whether all workers have been at work for some time, so that their pace is the pace of so many.
        trouble: why the queue cannot move at all, as a clause; empty otherwise.
    """

    queue: str
    at_s: float
    partitions: int
    backlog: int | None = None
    later: int = 0
    schedules: int = 0
    oldest_s: float | None = None
    arriving_per_s: float | None = None
    done_per_s: float | None = None
    workers: int | None = None
    runners: float | None = None
    busy: int | None = None
    run_s: float | None = None
    not_runnable: Mapping[str, int] = field(default_factory=dict)
    admissions: tuple[LimitAdmission, ...] = ()
    is_settled: bool = True
    trouble: str = ""

    @property
    def not_runnable_count(self) -> int:
        """Jobs that wait and that no further worker would run."""
        return min(sum(self.not_runnable.values()), self.backlog or 0)

    @property
    def ready(self) -> int:
        """Jobs that wait, do not run, and that a further worker could run."""
        return max((self.backlog or 0) - self.not_runnable_count - (self.busy or 0), 0)

    @property
    def busy_share(self) -> float | None:
        """The share of the workers' runners that had a job, from 0 to 1."""
        if self.busy is None or not self.runners or not self.workers:
            return None
        return min(self.busy / (self.runners * self.workers), 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingPolicy:
    """The wishes for a queue's workers.

    Attributes:
        target_wait: how long a job may wait for its run.
        catch_up: in which time a backlog is to be gone.
        use: the share of the workers' pace that arriving jobs take; the rest is headroom.
        minimum, maximum: workers at the least and at the most; a minimum of 0 allows none where nothing waits.
        start: how long a new worker takes until it runs jobs.
        stabilization: fewer workers are wanted only after fewer were enough for so long.
        step: the pause from one step down to the next one.
        most_down: the share of the workers by which one step goes down at the most; always one worker at least.
    """

    target_wait: timedelta = TARGET_WAIT
    catch_up: timedelta = timedelta(minutes=2)
    use: float = 0.8
    minimum: int = 1
    maximum: int | None = None
    start: timedelta = timedelta(seconds=30)
    stabilization: timedelta = timedelta(minutes=5)
    step: timedelta = timedelta(minutes=1)
    most_down: float = 0.25

    def __post_init__(self) -> None:
        """Refuse a policy that cannot be kept.

        Raises:
            ValueError: naming all that is wrong.
        """
        faults = [
            f"{name} must be longer than 0s; it is {format_duration(value)}"
            for name, value in (("target_wait", self.target_wait), ("catch_up", self.catch_up))
            if value <= timedelta(0)
        ]
        if self.minimum < 0:
            faults.append(f"minimum must be 0 or more; it is {self.minimum}")
        if self.maximum is not None and self.maximum < max(self.minimum, 1):
            faults.append(f"maximum must be {max(self.minimum, 1)} or more, as minimum is; it is {self.maximum}")
        if not 0 < self.use <= 1:
            faults.append(f"use must be above 0, and 1 at the most; it is {self.use}")
        if not 0 < self.most_down <= 1:
            faults.append(f"most_down must be above 0, and 1 at the most; it is {self.most_down}")
        if faults:
            raise ValueError("; ".join(faults))


def target_wait_of(queue: Queue) -> timedelta:
    """How long a job of the queue may wait, where no option sets it: as its `Slo` promises, or 5 s."""
    return TARGET_WAIT if queue.slo is None or queue.slo.wait is None else queue.slo.wait
