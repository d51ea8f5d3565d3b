"""Recommendations as they are shown: a table for people, data and metrics for programs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import Final

from ...producers.metrics.all_metrics import BACKLOG_ETA, WORKERS_WANTED
from ...producers.metrics.sample import Sample
from ...topology.counts import counted
from ..cli.output import Figure, format_age, table_lines
from .load import ScalingPolicy
from .rule import Recommendation

TITLES: Final = ("QUEUE", "WORKERS", "WANTED", "BOUND BY", "BACKLOG", "WAIT", "ETA")


def scale_lines(found: Sequence[Recommendation], policies: Sequence[ScalingPolicy]) -> list[str]:
    """The table, with the reason below each queue."""
    head, *rows = table_lines(TITLES, [_row(one) for one in found])
    notes = [f"  {_sentence(one, policy)}" for one, policy in zip(found, policies, strict=True)]
    return [head, *(line for pair in zip(rows, notes, strict=True) for line in pair)]


def _row(one: Recommendation) -> Sequence[object]:
    load = one.load
    wait = None if load.oldest_s is None else _length(load.oldest_s)
    return (load.queue, load.workers, one.wanted, one.bound_by, load.backlog, wait, eta_word(one.eta_s))


def eta_word(eta_s: float | None) -> Figure:
    """The length of time until a backlog is gone.

    >>> [eta_word(eta_s) for eta_s in (None, 0.0, 0.4, 192.0, float("inf"))]
    ['-', '0s', '1s', '3m12s', 'never']
    """
    if eta_s is None:
        return Figure("-")
    return Figure("never") if math.isinf(eta_s) else _length(math.ceil(eta_s))


def _length(seconds: float) -> Figure:
    return format_age(timedelta(seconds=min(seconds, 1e9)))


def _sentence(one: Recommendation, policy: ScalingPolicy) -> str:
    if one.wanted is None or one.wanted == one.load.workers or one.eta_wanted_s is None or not one.is_behind:
        return one.reason
    with_wanted = f"with {counted(one.wanted, 'worker')} it is gone in {eta_word(one.eta_wanted_s)}"
    if math.isinf(one.eta_wanted_s):
        with_wanted = f"with {counted(one.wanted, 'worker')} it still does not shrink"
    start = f", {_length(policy.start.total_seconds())} of it until new ones run" if _starts(one) else ""
    return f"{one.reason}; {with_wanted}{start}"


def _starts(one: Recommendation) -> bool:
    """Whether new workers are to begin, before the backlog is gone."""
    return (one.wanted or 0) > (one.load.workers or 0) and not math.isinf(one.eta_wanted_s or 0.0)


def scale_document(one: Recommendation, policy: ScalingPolicy) -> dict[str, object]:
    """The data of a queue, for programs; what is not known is null."""
    load = one.load
    return {
        "queue": load.queue,
        "workers": load.workers,
        "wanted": one.wanted,
        "bound_by": one.bound_by,
        "reason": one.reason,
        "is_known": one.is_known,
        "is_behind": one.is_behind,
        "eta_s": _finite(one.eta_s),
        "eta_wanted_s": _finite(one.eta_wanted_s),
        "is_shrinking": None if one.eta_s is None else not math.isinf(one.eta_s),
        "backlog": load.backlog,
        "not_runnable": load.not_runnable,
        "later": load.later,
        "schedules": load.schedules,
        "oldest_s": _rounded(load.oldest_s),
        "arriving_per_s": _rounded(load.arriving_per_s),
        "done_per_s": _rounded(load.done_per_s),
        "growth_per_s": _growth(one),
        "run_s": load.run_s,
        "runners": load.runners,
        "busy": load.busy,
        "partitions": load.partitions,
        "per_worker_per_s": _rounded(one.per_worker_per_s),
        "limits": [asdict(admission) for admission in load.admissions],
        "target_wait_s": policy.target_wait.total_seconds(),
    }


def _finite(seconds: float | None) -> float | None:
    return None if seconds is None or math.isinf(seconds) else round(seconds, 1)


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, 3)


def _growth(one: Recommendation) -> float | None:
    arriving, done = one.load.arriving_per_s, one.load.done_per_s
    return None if arriving is None or done is None else round(arriving - done, 3)


def samples_of(found: Iterable[Recommendation]) -> list[Sample]:
    """The metrics; a queue of which nothing is known has none, so that an autoscaler does nothing."""
    samples = []
    for one in found:
        if one.wanted is not None:
            samples.append(Sample(WORKERS_WANTED, (one.load.queue,), float(one.wanted)))
        if one.eta_s is not None:
            samples.append(Sample(BACKLOG_ETA, (one.load.queue,), one.eta_s))
    return samples
