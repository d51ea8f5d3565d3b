"""`BacklogMetrics`: the samples of the jobs that wait in one queue, or are on their way in this worker."""

from __future__ import annotations

import time
from collections.abc import Iterator

from ...producers.metrics import all_metrics as metrics
from ...producers.metrics.sample import Sample
from ..assembly.queue_parts import QueueParts
from ..progress.assignment import Assignment
from .growth import Growth


class BacklogMetrics:
    """Called by any thread."""

    def __init__(self, parts: QueueParts) -> None:
        self._view, self._runners, self._settler = parts.view, parts.running.runners, parts.settling.settler
        self._overview, self._waiting_counts = parts.inspection.overview, parts.inspection.waiting_counts
        self._times = parts.group.intake.arriving.times
        self._growth = Growth()

    def samples(self) -> Iterator[Sample]:
        """Yield the samples of this moment."""
        queue, shown = self._view.queue, self._view.snapshot()
        if shown.unfinished is not None:
            yield Sample(metrics.UNFINISHED, (queue,), shown.unfinished)
            growth = self._growth.look(time.monotonic(), shown.unfinished, shown.partitions)
            if growth is not None:
                yield Sample(metrics.GROWTH, (queue,), growth)
        yield Sample(metrics.OLDEST, (queue,), self._oldest_age_s(time.time()))
        yield Sample(metrics.IN_FLIGHT, (queue,), shown.in_flight)
        yield Sample(metrics.READY, (queue,), self._runners.ready)
        yield Sample(metrics.STUCK, (queue,), shown.stuck)
        yield Sample(metrics.STRANDED, (queue,), self._settler.stranded)
        yield Sample(metrics.UNWRITABLE, (queue,), self._settler.is_in_trouble)
        yield Sample(metrics.FETCHING_PAUSED, (queue,), shown.is_paused)
        for reason, count in self._waiting_counts.counts().items():
            yield Sample(metrics.WAITING, (queue, reason), count)

    def _oldest_age_s(self, now_s: float) -> float:
        """How long ago the oldest job without outcome was enqueued, about; 0 where there is none."""
        lowest = self._overview.lowest
        places = [(found.topic, found.partition, offset) for found, (offset, _) in lowest.items() if _is_entry(found)]
        written = (self._times.about_s(*place) for place in places)
        return max((now_s - at_s for at_s in written if at_s is not None), default=0.0)


def _is_entry(assignment: Assignment) -> bool:
    return assignment.source.is_entry
