"""`Capacity`: how many jobs a second one worker of a queue can do, as far as that can be known. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from .load import LIMITED, QueueLoad

MOST_PER_WORKER: Final = 20_000.0
"""A worker is one Python process: a job that does nothing takes it 15 to 50 µs."""
IDLE: Final = 0.5
"""Below this share of busy runners, runners are not what a worker's pace comes from."""
BUSY: Final = 0.8
"""From this share on, runners always have something to do."""
LEAST_BUSY: Final = 0.5
"""Runners that count as busy where a report found none, so that a job without weight is not free."""
DEEP_S: Final = 2.0
"""Jobs of so many seconds wait where workers have always something to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """The pace of one worker that always has jobs.

    Attributes:
        per_s: jobs a second.
        comes_from: what it comes from: `runners` if more of them would raise it, `cpu` if not.
        is_sure: whether it was measured; what a snapshot of a few busy runners shows is a guess.
    """

    per_s: float
    comes_from: Literal["runners", "cpu"]
    is_sure: bool = True


def run_of(load: QueueLoad) -> float | None:
    """How long a run takes, in seconds; without statistics by Little's law, from how many run; None if not known.

    >>> run_of(QueueLoad(queue="mails", at_s=0, partitions=8, done_per_s=20.0, busy=10))
    0.5
    """
    if load.run_s:
        return load.run_s
    if load.busy is None or not load.done_per_s:
        return None
    return max(load.busy, LEAST_BUSY) / load.done_per_s


def capacity_of(load: QueueLoad) -> Capacity | None:
    """The pace of one worker, as this load shows it; None if it shows nothing.

    Where jobs wait and runners are idle all the same, it is what the workers did: something beside the runners bounds
    them. Else it follows from how many jobs a worker may run at once, and how long these take.
    """
    if _is_short_of_cpu(load):
        assert load.done_per_s
        assert load.workers
        return Capacity(per_s=load.done_per_s / load.workers, comes_from="cpu")
    run_s = run_of(load)
    if not run_s or not load.runners:
        return _measured(load, is_sure=load.is_settled)
    by_runs, is_sure = load.runners / run_s, bool(load.run_s) or (load.busy_share or 0.0) >= BUSY
    if not is_sure and (measured := _measured(load, is_sure=False)):
        return measured
    if by_runs > MOST_PER_WORKER:
        return Capacity(per_s=MOST_PER_WORKER, comes_from="cpu", is_sure=is_sure)
    return Capacity(per_s=by_runs, comes_from="runners", is_sure=is_sure)


def _is_short_of_cpu(load: QueueLoad) -> bool:
    """Whether runners are idle where jobs wait: by the workers' reports, and by the runs of the last minute."""
    share = load.busy_share
    if share is None or share >= IDLE or not load.is_settled or not _is_at_full_pace(load):
        return False
    assert load.runners
    assert load.workers
    return (load.done_per_s or 0.0) * (load.run_s or 0.0) < IDLE * load.runners * load.workers


def _measured(load: QueueLoad, *, is_sure: bool) -> Capacity | None:
    """Jobs a second of each worker, where more waited than they could do."""
    if not _is_at_full_pace(load):
        return None
    assert load.done_per_s
    assert load.workers
    return Capacity(per_s=load.done_per_s / load.workers, comes_from="runners", is_sure=is_sure)


def _is_at_full_pace(load: QueueLoad) -> bool:
    """Whether the workers have done all that they can."""
    if not load.done_per_s or not load.workers or LIMITED in load.not_runnable:
        return False
    return load.ready > load.done_per_s * DEEP_S and load.not_runnable_count < load.ready
