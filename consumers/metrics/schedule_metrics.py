"""`schedule_samples`: the samples of the schedules that a worker process fires."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ...producers.metrics import all_metrics as metrics
from ...producers.metrics.sample import Sample
from ..schedules.fired_queue import ScheduleFigures

OUTCOMES = ("fired", "missed_fired", "missed_left_out", "overlap")


def schedule_samples(figures: Iterable[ScheduleFigures]) -> Iterator[Sample]:
    """Yield the samples of this moment; counts stay when another process takes the schedules over."""
    for found in figures:
        if found.schedules is not None:
            yield Sample(metrics.SCHEDULES, (found.queue,), found.schedules)
        if found.overdue_s is not None:
            yield Sample(metrics.SCHEDULE_OVERDUE, (found.queue,), found.overdue_s)
        for outcome in OUTCOMES:
            yield Sample(metrics.SCHEDULE_INSTANTS, (found.queue, outcome), getattr(found.instants, outcome))
