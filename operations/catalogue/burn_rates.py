"""`burn_rates`: how fast a job type with an `Slo` may spend its budget of failures before its owner is alerted. Pure.

A promise of 0.999 leaves a budget of one failure in a thousand jobs for 30 days. A burn rate of 1 spends it exactly;
one of 14.4 spends 2 % of it in an hour. Each rule needs a long and a short window to burn at once: the long one so that
a hiccup does not alert, the short one so that the alert ends soon after its cause.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal

from ...topology import Pipeline
from ...topology.declaration.job_type import AnyJobType

Urgency = Literal["page", "ticket"]
Promise = Literal["success", "wait", "run"]

WINDOWS: Final[tuple[tuple[Urgency, float, timedelta, timedelta], ...]] = (
    ("page", 14.4, timedelta(hours=1), timedelta(minutes=5)),
    ("page", 6.0, timedelta(hours=6), timedelta(minutes=30)),
    ("ticket", 1.0, timedelta(days=3), timedelta(hours=6)),
)
"""Urgency, burn rate, long and short window; of the Site Reliability Workbook, "Alerting on SLOs"."""
SLOW_RATIO: Final = 0.01
"""The times are promised of 99 of 100 jobs: so many may be slower."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BurnRate:
    """One alert rule of a job type.

    Attributes:
        promise: which of its promises is spent: `success` counts dead letters, the others jobs slower than `bound_s`.
        burn_rate: how many times faster than allowed the budget is spent.
        most: the rule fires where a larger share of jobs than this misses the promise, in both windows.
        bound_s: the promised time in seconds; None of `success`.
    """

    job_type: str
    queue: str
    owner: str
    runbook: str
    escalation: str
    urgency: Urgency
    promise: Promise
    burn_rate: float
    most: float
    long: timedelta
    short: timedelta
    bound_s: float | None = None


def burn_rates(pipeline: Pipeline) -> list[BurnRate]:
    """The alert rules of all job types with an `Slo`, in the order of declaration, the most urgent of each first."""
    return [rule for job_type in pipeline.job_types.values() for rule in _of_type(job_type)]


def _of_type(job_type: AnyJobType) -> Iterator[BurnRate]:
    for promise, budget, bound_s in _budgets(job_type):
        for urgency, rate, long, short in WINDOWS:
            most = rate * budget
            if most < 1:  # a larger share than all jobs cannot miss it
                yield BurnRate(
                    job_type=job_type.name,
                    queue=job_type.queue.name,
                    owner=job_type.owner,
                    runbook=job_type.runbook,
                    escalation=job_type.escalation,
                    urgency=urgency,
                    promise=promise,
                    burn_rate=rate,
                    most=most,
                    long=long,
                    short=short,
                    bound_s=bound_s,
                )


def _budgets(job_type: AnyJobType) -> Iterator[tuple[Promise, float, float | None]]:
    """Each promise, the share of jobs that may miss it, and its time in seconds."""
    slo = job_type.slo
    if slo is None:
        return
    yield "success", round(1 - slo.success, 12), None
    if slo.wait is not None:
        yield "wait", SLOW_RATIO, slo.wait.total_seconds()
    if slo.run is not None:
        yield "run", SLOW_RATIO, slo.run.total_seconds()
