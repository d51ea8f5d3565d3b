"""`PollThreadMetrics`: the samples of one queue's poll thread: its turns, partitions, fetches and commits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ...producers.metrics import all_metrics as metrics
from ...producers.metrics.all_metrics import KAFKA
from ...producers.metrics.sample import Sample
from ..assembly.queue_parts import QueueParts

PARTITION_STATES: Final = ("restoring", "running", "leaving")


class PollThreadMetrics:
    """Called by any thread."""

    def __init__(self, parts: QueueParts) -> None:
        self._view, self._overview = parts.view, parts.inspection.overview
        self._intake, self._rebalance = parts.group.intake.arriving, parts.group.rebalance
        self._answers, self._events = parts.partitions.commits.answers, parts.settling.events

    def samples(self) -> Iterator[Sample]:
        """Yield the samples of this moment."""
        queue = self._view.queue
        yield Sample(metrics.CONSUMED, (KAFKA, "fetch", queue), self._intake.fetched)
        yield Sample(metrics.TURN_SECONDS, (queue,), self._view.turns.value())
        yield Sample(metrics.TURN_AGE, (queue,), self._view.turn_age_s)
        states = self._overview.partition_states()
        for state in PARTITION_STATES:
            yield Sample(metrics.PARTITIONS, (queue, state), states[state])
        for change, count in dict(self._rebalance.changes).items():
            yield Sample(metrics.REBALANCES, (queue, change), count)
        for answer, count in dict(self._answers.counts).items():
            yield Sample(metrics.COMMITS, (queue, answer), count)
        yield Sample(metrics.EVENTS_GIVEN_UP, (queue,), self._events.given_up.total)
