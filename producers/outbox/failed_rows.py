"""`FailedRows`: the rows of an outbox that could not be published: marked, logged, and tried again."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from datetime import timedelta
from typing import Final

from ...databases.outbox.rows import OutboxTable
from ...topology.log_pace import LogPace
from .flight import Flight
from .pace import BEAT_S

_LOGGER = logging.getLogger("stoker.outbox")

RETRY_AFTER: Final = timedelta(seconds=30)
"""How long a row rests that could not be published."""
MOST_REASONS: Final = 100


class FailedRows:
    """The failed rows of one outbox, which its table has; one thread uses them.

    Args:
        outbox: its name, for logs.
    """

    def __init__(self, outbox: str, flight: Flight) -> None:
        self._outbox, self._flight = outbox, flight
        self._log_paces: dict[str, LogPace] = {}
        self._retry_at_s = 0.0

    def note(self, table: OutboxTable, faults: Iterable[tuple[int, str]]) -> None:
        """Mark rows as failed.

        Args:
            faults: (id, reason) of each.
        """
        by_reason: dict[str, list[int]] = {}
        for row_id, reason in faults:
            by_reason.setdefault(reason, []).append(row_id)
        for reason, ids in by_reason.items():
            table.set_failed(ids, reason)
            self._log(reason, len(ids))

    def _log(self, reason: str, rows: int) -> None:
        if len(self._log_paces) > MOST_REASONS:
            self._log_paces.clear()
        if not self._log_paces.setdefault(reason, LogPace()).try_acquire(time.monotonic()):
            return
        _LOGGER.error(
            "outbox %s: rows have failed (%d at once): %s. The relay tries them again every %g s; later rows of their "
            "keys wait", self._outbox, rows, reason, RETRY_AFTER.total_seconds(),
        )  # fmt: skip

    def retry(self, table: OutboxTable, most: int) -> None:
        """Try up to so many rows again whose rest is over, and let those behind them go on."""
        now_s = time.monotonic()
        if now_s < self._retry_at_s:
            return
        skipped = {*self._flight.probing, *self._flight.bad_topics()}
        failed = table.read_failed(most, RETRY_AFTER, skipped)
        rows = [row for row in failed if row.id not in self._flight.rows]
        sent = self._flight.send(rows)
        table.release()
        self._retry_at_s = now_s + (0.05 if sent else BEAT_S)
