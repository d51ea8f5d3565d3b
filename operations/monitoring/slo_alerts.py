"""`slo_alerts`: the alerts of job types that declare an `Slo`: a promise is missed so often that its budget burns.

The windows are long, and reading days of all counters in each evaluation would be dear. So Prometheus records for each
promise, five minutes at a time, how many jobs there were and how many missed it; the alerts add those up.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from ...producers.metrics import all_metrics as metrics
from ..catalogue.burn_rates import BurnRate, burn_rates
from .alert import Alert, RecordingRule, Severity

if TYPE_CHECKING:
    from ...topology import Pipeline

JOBS: Final = "stoker:slo_jobs:increase5m"
MISSED: Final = "stoker:slo_missed:increase5m"
LEAST: Final = 3
"""Jobs that must have missed the promise at least: one of ten at night is no pattern."""
NAME: Final = "StokerSloBurns"
_SEVERITIES: Final[dict[str, Severity]] = {"page": "critical", "ticket": "warning"}
_STEP: Final = timedelta(minutes=5)
_HISTOGRAMS: Final = {"wait": metrics.WAIT_SECONDS, "run": metrics.RUN_SECONDS}
_MISSES: Final = {
    "success": "became dead letters",
    "wait": "waited for longer than {bound:g} s",
    "run": "ran for longer than {bound:g} s",
}


def counted_bound_s(rule: BurnRate) -> float | None:
    """From which time on the metrics show that a promised time is missed: the next bound of their histogram.

    None where there is none, or where the promise is not one of time.
    """
    if rule.promise == "success" or rule.bound_s is None:
        return None
    return next((bound for bound in _HISTOGRAMS[rule.promise].bounds if bound >= rule.bound_s), None)


def slo_rules(pipeline: Pipeline) -> list[BurnRate]:
    """The burn rates for which there are metrics."""
    return [rule for rule in burn_rates(pipeline) if rule.promise == "success" or counted_bound_s(rule) is not None]


def slo_recordings(pipeline: str, rules: Iterable[BurnRate]) -> Iterator[RecordingRule]:
    """The series that the alerts of these rules are made of."""
    for rule in {(rule.job_type, rule.promise): rule for rule in rules}.values():
        jobs, missed = _counted(pipeline, rule)
        labels = {"promise": rule.promise}
        yield RecordingRule(name=JOBS, expr=jobs, labels=labels)
        yield RecordingRule(name=MISSED, expr=missed, labels=labels)


def _counted(pipeline: str, rule: BurnRate) -> tuple[str, str]:
    """How many jobs there were in five minutes, and how many of them missed the promise."""
    of_type = f'{metrics.PIPELINE}="{pipeline}",queue="{rule.queue}",type="{rule.job_type}"'
    if rule.promise == "success":
        return tuple(  # type: ignore[return-value]
            f'sum by (pipeline, queue, type) (increase({metrics.SETTLED.name}{{{of_type},outcome=~"{outcomes}"}}[5m]))'
            for outcomes in ("done|dead", "dead")
        )
    name = _HISTOGRAMS[rule.promise].name
    jobs = f"sum by (pipeline, queue, type) (increase({name}_count{{{of_type}}}[5m]))"
    kept = f'sum by (pipeline, queue, type) (increase({name}_bucket{{{of_type},le="{counted_bound_s(rule)}"}}[5m]))'
    return jobs, f"clamp_min({jobs} - {kept}, 0)"


def slo_alerts(pipeline: str, rules: Iterable[BurnRate]) -> Iterator[Alert]:
    """Build the alerts of these rules."""
    for rule in rules:
        selector = (
            f'{{{metrics.PIPELINE}="{pipeline}",queue="{rule.queue}",type="{rule.job_type}",promise="{rule.promise}"}}'
        )
        ratios = (_ratio(selector, window) for window in (rule.long, rule.short))
        exceeded = " and ".join(f"{ratio} > {rule.most:.6g}" for ratio in ratios)
        misses = _MISSES[rule.promise].format(bound=counted_bound_s(rule) or math.nan)
        yield Alert(
            name=NAME,
            severity=_SEVERITIES[rule.urgency],
            expr=f"{exceeded} and {_sum(MISSED + selector, rule.long)} >= {LEAST}",
            lasts="2m",
            summary=f"{{{{ $value | humanizePercentage }}}} of the jobs of {rule.job_type} {misses}",
            description=f"Within {_length(rule.long)}, and within the last {_length(rule.short)} as well. Its owner "
            f"promises that at most {rule.most / rule.burn_rate:.4%} do: that budget is spent {rule.burn_rate:g} times "
            "faster than it lasts for.",
            labels={"window": _length(rule.long)},
        )


def _ratio(selector: str, window: timedelta) -> str:
    return f"{_sum(MISSED + selector, window)} / {_sum(JOBS + selector, window)}"


def _sum(series: str, window: timedelta) -> str:
    """The sum of a series whose values are those of five minutes each."""
    return series if window == _STEP else f"sum_over_time({series}[{_length(window)}:5m])"


def _length(window: timedelta) -> str:
    """As Prometheus writes a duration."""
    seconds = round(window.total_seconds())
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
