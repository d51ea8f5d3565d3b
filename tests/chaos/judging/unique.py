"""Unique jobs: none runs that came while another of its key was in its way, and none ends without such a one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from chaos.judging.account import Account, Finding
from chaos.notes import OK, Run
from chaos.plan import UNIQUE

SKEW_S: Final = 0.25
"""Between the brokers' times, the worker's, and the notes of a job, which are made just inside of its run."""
MOVED_S: Final = 90.0
"""More than two jumps of the clock by which workers tell when a run has ended: near one, either is right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """A unique job.

    Attributes:
        came_s: when its first record was on the topic.
        copies: how many records it has.
        first_end_s, last_end_s: of the runs that came to their ends; None where none did.
    """

    number: int
    came_s: float
    copies: int
    first_end_s: float | None
    last_end_s: float | None


def check_unique(account: Account, by_job: Mapping[int, Sequence[Run]]) -> Iterator[Finding]:
    """Of the jobs of each key, those ran that found nobody waiting or running; the others found somebody."""
    for number, plan in account.plans.items():
        if plan.kind == UNIQUE and number in account.confirmed and number not in account.arrived:
            yield Finding("lost", f"job {number} (unique) was confirmed, and is on no topic")
    for key, jobs in _jobs_by_key(account, by_job).items():
        for job in jobs:
            if _is_near_jump(job, account):
                continue
            if job.first_end_s is None:
                if not any(_was_in_the_way(other, job) for other in jobs):
                    yield Finding(
                        "lost", f"job {job.number} (unique, key {key}) did not run, and nobody was in its way"
                    )
            elif job.copies == 1:
                yield from _beside(key, job, jobs)


def count_superfluous(account: Account, by_job: Mapping[int, Sequence[Run]]) -> int:
    """How many unique jobs never ran to their ends."""
    return sum(job.first_end_s is None for jobs in _jobs_by_key(account, by_job).values() for job in jobs)


def _jobs_by_key(account: Account, by_job: Mapping[int, Sequence[Run]]) -> dict[str, list[_Job]]:
    found: defaultdict[str, list[_Job]] = defaultdict(list)
    for number, came_s in account.arrived.items():
        ends = [run.end_s for run in by_job.get(number, ()) if run.how == OK and run.end_s is not None]
        found[str(account.plans[number].key)].append(
            _Job(
                number=number,
                came_s=min(came_s),
                copies=len(came_s),
                first_end_s=min(ends, default=None),
                last_end_s=max(ends, default=None),
            )
        )
    return found


def _is_near_jump(job: _Job, account: Account) -> bool:
    return any(
        strike.kind == "jump_clock" and strike.begin_s - MOVED_S <= job.came_s <= strike.end_s + MOVED_S
        for strike in account.strikes
    )


def _was_in_the_way(other: _Job, job: _Job) -> bool:
    """Whether another one that ran had come before a job, and had not ended when that came."""
    if other is job or other.last_end_s is None:
        return False
    return other.came_s <= job.came_s + SKEW_S and other.last_end_s >= job.came_s - SKEW_S


def _beside(key: str, job: _Job, jobs: Sequence[_Job]) -> Iterator[Finding]:
    """Jobs that had come before one that ran, and that ran to their ends only after it had come."""
    for other in jobs:
        if other is not job and other.first_end_s is not None and other.came_s < job.came_s - SKEW_S:
            late_s = other.first_end_s - job.came_s
            if late_s > SKEW_S:
                said = f"job {job.number} (unique, key {key}) ran"
                yield Finding("unique", f"{said}, though it came {late_s:.2f} s before the end of job {other.number}")
