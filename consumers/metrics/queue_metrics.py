"""`QueueMetrics`: the samples of one queue's worker, from the plain numbers that its parts keep."""

from __future__ import annotations

from collections.abc import Iterator

from ...producers.metrics.sample import Sample
from ..assembly.queue_parts import QueueParts
from ..assembly.settling import SettlingParts
from .backlog_metrics import BacklogMetrics
from .guarded_figures import GuardedFigures
from .job_figures import JobFigures
from .limit_metrics import limit_samples
from .poll_thread_metrics import PollThreadMetrics
from .runner_metrics import runner_samples


class QueueMetrics:
    """Turns on the folding of what is settled, when it is made; `samples` is called by any thread."""

    def __init__(self, parts: QueueParts) -> None:
        self._name = parts.view.queue
        self._figures = JobFigures(self._name, [found.name for found in parts.context.job_types])
        self._backlog, self._poll_thread = BacklogMetrics(parts), PollThreadMetrics(parts)
        self._runners, self._limits = parts.running.runners, parts.gating.limits
        self._count_settled(parts.settling, has_done_events=parts.context.settings.done_events)

    def _count_settled(self, settling: SettlingParts, *, has_done_events: bool) -> None:
        """Have settled jobs counted; those that are done with their events, where they have some."""
        counted = GuardedFigures(self._name, self._figures)
        if has_done_events:
            settling.settled.add_listener(counted.fold_others)
            settling.done_jobs.count_by(counted)
        else:
            settling.settled.add_listener(counted.fold)

    def samples(self) -> Iterator[Sample]:
        """The samples of this moment."""
        yield from self._figures.samples()
        yield from self._backlog.samples()
        yield from runner_samples(self._name, self._runners)
        yield from self._poll_thread.samples()
        yield from limit_samples(self._name, self._limits.reports.look())
