"""`QueueMetrics`: the samples of one queue's worker, from the plain numbers that its parts keep."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, ParamSpec, TypeVar

from ...producers.metrics import catalogue as metrics
from ...producers.metrics.catalogue import KAFKA
from ...producers.metrics.sample import Sample
from ..assembly.queue_parts import QueueParts
from ..assembly.settling import SettlingParts
from ..isolation.isolated_runners import IsolatedRunners
from ..isolation.pool import ChildCounts
from ..meters.limit_report import LimitReport
from ..records.assignment import Assignment
from ..records.ended_columns import Durations, Handful
from ..runners.kinds import Runners
from ..settling.settlement import SettlementBatch
from .job_figures import JobFigures

_LOGGER = logging.getLogger("stoker.metrics")

_Args = ParamSpec("_Args")
_Result = TypeVar("_Result")

GROWTH_OVER_S: Final = 60.0
PARTITION_STATES: Final = ("restoring", "running", "leaving")


class Growth:
    """How fast the unfinished records increase, by the looks of the last minute. Each look may be by another thread.

    >>> growth = Growth()
    >>> growth.look(0.0, 100, (0, 1)), growth.look(10.0, 150, (0, 1)), growth.look(11.0, 20, (0,))
    (None, 5.0, None)
    """

    def __init__(self) -> None:
        self._looks: deque[tuple[float, int]] = deque()
        self._partitions: tuple[int, ...] = ()

    def look(self, now_s: float, unfinished: int, partitions: tuple[int, ...]) -> float | None:
        """Take the number of now; gives records a second, None where there is nothing to compare it with."""
        if partitions != self._partitions:  # the number has jumped with them
            self._partitions, self._looks = partitions, deque()
        looks = self._looks
        looks.append((now_s, unfinished))
        while len(looks) > 2 and now_s - looks[1][0] >= GROWTH_OVER_S:
            looks.popleft()
        before_s, before = looks[0]
        return (unfinished - before) / (now_s - before_s) if now_s > before_s else None


class GuardedFigures:
    """Counts until a fault of its own: that must not end the thread which counts, and with it the worker."""

    def __init__(self, queue: str, figures: JobFigures) -> None:
        self._queue, self._figures = queue, figures
        self._has_failed = False

    def fold(self, batch: SettlementBatch) -> None:
        """Count a batch that is settled."""
        self._guarded(self._figures.fold, batch)

    def fold_others(self, batch: SettlementBatch) -> None:
        """Count all of a batch but jobs that are done."""
        self._guarded(self._figures.fold_others, batch)

    def durations(self, handful: Handful) -> Sequence[Durations]:
        """Read what is counted of jobs that are done; nothing once this has failed."""
        return self._guarded(self._figures.durations, handful) or ()

    def fold_published(self, durations: Sequence[Durations]) -> None:
        """Count jobs that are done, whose events are made."""
        self._guarded(self._figures.fold_published, durations)

    def fold_given_up(self, durations: Sequence[Durations]) -> None:
        """Count jobs that are done, whose events are given up."""
        self._guarded(self._figures.fold_given_up, durations)

    def _guarded(self, count: Callable[_Args, _Result], *args: _Args.args, **named: _Args.kwargs) -> _Result | None:
        if self._has_failed:
            return None
        try:
            return count(*args, **named)
        except Exception:
            self._has_failed = True
            _LOGGER.exception("the metrics of queue %r failed and count no more jobs; jobs go on", self._queue)
            return None


class QueueMetrics:
    """Turns on the folding of what is settled, when it is made; `samples` is called by any thread."""

    def __init__(self, parts: QueueParts) -> None:
        self._name, self._view = parts.view.queue, parts.view
        self._commits = parts.partitions.commits
        self._settler, self._events = parts.settling.settler, parts.settling.events
        self._runners, self._limits = parts.running.runners, parts.gating.limits
        self._intake, self._rebalance = parts.group.intake.arriving, parts.group.rebalance
        self._overview, self._waiting_counts = parts.inspection.overview, parts.inspection.waiting_counts
        self._figures = JobFigures(self._name, parts.context.job_type_names)
        self._growth = Growth()
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
        yield from self._of_backlog()
        yield from self._of_runners()
        yield from self._of_poll_thread()
        yield from self._of_limits()

    def _gauge(self, metric: metrics.Metric, value: float, *labels: str) -> Sample:
        return Sample(metric, (self._name, *labels), value)

    def _of_backlog(self) -> Iterator[Sample]:
        shown = self._view.snapshot()
        if shown.unfinished is not None:
            yield self._gauge(metrics.UNFINISHED, shown.unfinished)
            growth = self._growth.look(time.monotonic(), shown.unfinished, shown.partitions)
            if growth is not None:
                yield self._gauge(metrics.GROWTH, growth)
        yield self._gauge(metrics.OLDEST, self._oldest_age_s(time.time()))
        yield self._gauge(metrics.IN_FLIGHT, shown.in_flight)
        yield self._gauge(metrics.READY, self._runners.ready)
        yield self._gauge(metrics.STUCK, shown.stuck)
        yield self._gauge(metrics.STRANDED, self._settler.stranded)
        yield self._gauge(metrics.UNWRITABLE, self._settler.is_in_trouble)
        yield self._gauge(metrics.FETCHING_PAUSED, shown.is_paused)
        for reason, count in self._waiting_counts.counts().items():
            yield self._gauge(metrics.WAITING, count, reason)

    def _oldest_age_s(self, now_s: float) -> float:
        """How long ago the oldest job without outcome was enqueued, about; 0 where there is none."""
        times, lowest = self._intake.times, self._overview.lowest
        places = [(found.topic, found.partition, offset) for found, (offset, _) in lowest.items() if _is_entry(found)]
        written = (times.about_s(*place) for place in places)
        return max((now_s - at_s for at_s in written if at_s is not None), default=0.0)

    def _of_runners(self) -> Iterator[Sample]:
        isolated = self._runners.of(IsolatedRunners)
        yield from of_kinds(self._name, self._runners)
        if isolated is not None:
            yield from self._of_children(isolated.counts() or ChildCounts(), isolated.crashes)

    def _of_children(self, counts: ChildCounts, crashes: int) -> Iterator[Sample]:
        for state in ("busy", "idle", "starting"):
            yield self._gauge(metrics.CHILDREN, getattr(counts, state), state)
        yield self._gauge(metrics.CHILDREN_ENDED, counts.ended)
        yield self._gauge(metrics.CRASHES, crashes)

    def _of_poll_thread(self) -> Iterator[Sample]:
        yield Sample(metrics.CONSUMED, (KAFKA, "fetch", self._name), self._intake.fetched)
        yield Sample(metrics.TURN_SECONDS, (self._name,), self._view.turns.value())
        yield self._gauge(metrics.TURN_AGE, max(0.0, time.monotonic() - self._view.last_turn_at_s))
        states = self._overview.partition_states()
        for state in PARTITION_STATES:
            yield self._gauge(metrics.PARTITIONS, states[state], state)
        for change, count in dict(self._rebalance.changes).items():
            yield self._gauge(metrics.REBALANCES, count, change)
        for answer, count in dict(self._commits.answers).items():
            yield self._gauge(metrics.COMMITS, count, answer)
        yield self._gauge(metrics.EVENTS_GIVEN_UP, self._events.given_up.total)

    def _of_limits(self) -> Iterator[Sample]:
        for name, report in self._limits.reports.look().items():
            if report.keeps:
                yield from self._of_limit(name, report)

    def _of_limit(self, name: str, report: LimitReport) -> Iterator[Sample]:
        yield self._gauge(metrics.LIMIT_SCOPES, report.scopes, name, "used")
        yield self._gauge(metrics.LIMIT_SCOPES, report.full, name, "full")
        whole = [scope for scope in report.listed if scope.value is None and scope.of]
        if whole:
            yield self._gauge(metrics.LIMIT_USED, whole[0].used, name)
            yield self._gauge(metrics.LIMIT_MOST, whole[0].of, name)


def of_kinds(queue: str, kinds: Iterable[Runners[Any]]) -> Iterator[Sample]:
    """How many jobs may run at once in each kind of a queue's runners, and how many run."""
    for kind in kinds:
        if kind.size:
            yield Sample(metrics.RUNNERS, (queue, kind.word), kind.size)
            yield Sample(metrics.BUSY, (queue, kind.word), sum(slot.run is not None for slot in kind.slots))


def _is_entry(assignment: Assignment) -> bool:
    return assignment.source.is_entry
