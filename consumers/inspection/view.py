"""`QueueView`: shows people one queue's worker: its figures, the state of its parts, and how its poll thread turns."""

from __future__ import annotations

import time

from ...producers.metrics.histogram import Histogram
from ..in_flight.completion import Completion
from ..poll_thread_state import PollThreadState
from .overview import Overview
from .queue_inspection import QueueInspection
from .snapshot import QueueSnapshot
from .unfinished import UnfinishedCount


class QueueView:
    """Called from any thread; it answers also where the poll thread hangs.

    Attributes:
        queue: its name.
    """

    def __init__(
        self,
        queue: str,
        poll_state: PollThreadState,
        overview: Overview,
        completion: Completion,
        unfinished: UnfinishedCount,
    ) -> None:
        self.queue = queue
        self._poll_state, self._overview, self._completion, self._unfinished = (
            poll_state,
            overview,
            completion,
            unfinished,
        )

    def snapshot(self) -> QueueSnapshot:
        """The figures of this queue's worker."""
        return self._overview.snapshot(self._completion.outcomes, self._unfinished.latest)

    def inspect(self) -> QueueInspection:
        """The state of this queue's runners, partitions and threads."""
        return self._overview.inspect(self.turn_age_s, self._poll_state.ident)

    @property
    def turn_age_s(self) -> float:
        """How long the poll thread has not turned; 0 once it has ended."""
        return self._poll_state.turn_age_s(time.monotonic())

    @property
    def turns(self) -> Histogram:
        """Counts the time from one turn to the next, in seconds."""
        return self._poll_state.turns
