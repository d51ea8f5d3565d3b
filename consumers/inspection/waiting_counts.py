"""`WaitingCounts`: how many jobs wait, and for what, published as events for those who look from outside."""

from __future__ import annotations

import time
from collections import Counter
from typing import Final

from ...schemas.own_records.job_events import EventSubject, JobsWaiting
from ...topology import Queue
from ..delays.calendar import Calendar
from ..dispatch.unbegun_counts import UnbegunCounts
from ..dispatch.unbegun_records import TENANTS_TURN
from ..gates.waiting_view import WaitingView
from ..settling.event_publisher import EventPublisher
from ..settling.writes import utc

REPEAT_S: Final = 5.0
"""How often counts are published, while something waits."""
KEY: Final = "key"
DUE: Final = "due"
GATE: Final = "gate:"
NEXT_DUE_AT: Final = "due-at"
"""No reason: the epoch second at which the next of those is due that wait for their due time."""


class WaitingCounts:
    """Counts what waits of one queue; owned by the poll thread."""

    def __init__(
        self,
        queue: Queue,
        worker_id: str,
        calendar: Calendar,
        at_gates: WaitingView,
        unbegun: UnbegunCounts,
        events: EventPublisher,
    ) -> None:
        self._queue = queue
        self._worker_id = worker_id
        self._calendar = calendar
        self._at_gates, self._unbegun = at_gates, unbegun
        self._events = events
        self._next_look_at_s = 0.0
        self._waited = False

    def report(self, now_s: float) -> None:
        """Publish the counts, if it is time and jobs have waited for two looks: keys wait a moment in any queue."""
        if now_s < self._next_look_at_s:
            return
        self._next_look_at_s = now_s + REPEAT_S
        counts = self.counts()
        next_due_at_s = self._calendar.next_wake_at_s
        if next_due_at_s is not None and DUE in counts:
            counts[NEXT_DUE_AT] = int(next_due_at_s)
        if counts and self._waited:
            subject = EventSubject(job_id="", job_type="", queue=self._queue.name, topic=self._queue.topic)
            self._events.publish(
                JobsWaiting(subject=subject, at=utc(time.time()), worker=self._worker_id, counts=counts)
            )
        self._waited = bool(counts)

    def counts(self) -> dict[str, int]:
        """{reason: jobs that wait for it}, without those that are 0."""
        counts = Counter({KEY: self._unbegun.waiting_behind, DUE: len(self._calendar)})
        for why, count in self._at_gates.counts().items():
            counts[GATE + why.state] += count
        counts[GATE + TENANTS_TURN.state] += self._unbegun.waiting_for_turn
        return {reason: count for reason, count in counts.items() if count}
