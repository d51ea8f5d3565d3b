"""`Reports`: what one queue's worker publishes of its state: blockers, and how many jobs wait."""

from __future__ import annotations

from .blockers import Blockers
from .overview import Overview
from .waiting_counts import WaitingCounts


class Reports:
    """Owned by the poll thread; each report has an interval of its own."""

    def __init__(self, overview: Overview, blockers: Blockers, waiting_counts: WaitingCounts) -> None:
        self._overview, self._blockers, self._waiting_counts = overview, blockers, waiting_counts

    def publish(self, now_s: float) -> None:
        """Note the lowest incomplete offsets, and publish what it is time for; called once a second or so."""
        self._overview.note(now_s)
        self._blockers.report(self._overview.lowest, now_s)
        self._waiting_counts.report(now_s)
