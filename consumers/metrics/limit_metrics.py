"""`limit_samples`: the samples of one queue's limits, as far as this worker keeps them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ...producers.metrics import all_metrics as metrics
from ...producers.metrics.sample import Sample
from ..meters.limit_report import LimitReport


def limit_samples(queue: str, reports: Mapping[str, LimitReport]) -> Iterator[Sample]:
    """Yield the samples of {limit: its report}."""
    for name, report in reports.items():
        if report.keeps:
            yield from _of_limit(queue, name, report)


def _of_limit(queue: str, name: str, report: LimitReport) -> Iterator[Sample]:
    yield Sample(metrics.LIMIT_SCOPES, (queue, name, "used"), report.scopes)
    yield Sample(metrics.LIMIT_SCOPES, (queue, name, "full"), report.full)
    whole = [scope for scope in report.listed if scope.value is None and scope.of]
    if whole:
        yield Sample(metrics.LIMIT_USED, (queue, name), whole[0].used)
        yield Sample(metrics.LIMIT_MOST, (queue, name), whole[0].of)
