"""`runner_samples`: the samples of one queue's runners, and of the child processes of isolated jobs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from ...producers.metrics import all_metrics as metrics
from ...producers.metrics.sample import Sample
from ..isolation.isolated_runners import IsolatedRunners
from ..isolation.pool import ChildCounts
from ..runners.kinds import RunnerRow, Runners


def runner_samples(queue: str, runners: RunnerRow) -> Iterator[Sample]:
    """Yield the samples of this moment."""
    isolated = runners.of(IsolatedRunners)
    yield from of_kinds(queue, runners)
    if isolated is not None:
        yield from _of_children(queue, isolated.counts() or ChildCounts(), isolated.crashes)


def of_kinds(queue: str, kinds: Iterable[Runners[Any]]) -> Iterator[Sample]:
    """How many jobs may run at once in each kind of a queue's runners, and how many run."""
    for found in kinds:
        if found.size:
            yield Sample(metrics.RUNNERS, (queue, found.kind), found.size)
            yield Sample(metrics.BUSY, (queue, found.kind), sum(slot.run is not None for slot in found.slots))


def _of_children(queue: str, counts: ChildCounts, crashes: int) -> Iterator[Sample]:
    for state in ("busy", "idle", "starting"):
        yield Sample(metrics.CHILDREN, (queue, state), getattr(counts, state))
    yield Sample(metrics.CHILDREN_ENDED, (queue,), counts.ended)
    yield Sample(metrics.CRASHES, (queue,), crashes)
