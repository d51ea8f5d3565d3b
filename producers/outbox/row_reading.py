"""`RowReading`: reads rows of an outbox, as many as there is room for in flight."""

from __future__ import annotations

import time
from typing import Final

from ...databases.outbox.rows import OutboxRow, OutboxTable
from .flight import Flight

MOST_IN_FLIGHT: Final = 4_000
MOST_BYTES: Final = 64_000_000
"""The bound on the values in flight; a read may add a quarter."""
READ_ROWS: Final = 1_000
FIRST_ROWS: Final = 100
"""As many rows the first read takes, which does not know yet how large they are."""
SLOW_READ_S: Final = 0.03
MOST_FACTOR: Final = 20
"""Reads take long while an old transaction keeps deleted rows from being vacuumed; then each takes more rows."""


class RowReading:
    """The size of reads, by what the last one took and how large its rows were; one thread uses it."""

    def __init__(self, flight: Flight) -> None:
        self._flight = flight
        self._read_took_s = 0.0
        self._fitting_rows = FIRST_ROWS

    def read(self, table: OutboxTable) -> list[OutboxRow]:
        """Read the first rows that are visible and not in flight; none where there is no room."""
        factor = min(MOST_FACTOR, max(1, round(self._read_took_s / SLOW_READ_S)))
        room = factor * MOST_IN_FLIGHT - len(self._flight.rows)
        if room <= 0 or self._flight.bytes > MOST_BYTES:
            return []
        began_at_s = time.monotonic()
        rows = table.read(min(room, factor * READ_ROWS, self._fitting_rows), self._flight.rows, self._flight.probing)
        if rows:
            self._read_took_s = time.monotonic() - began_at_s
            mean_bytes = 1 + sum(len(row.value) for row in rows) // len(rows)
            self._fitting_rows = max(1, MOST_BYTES // 4 // mean_bytes)
        return rows

    @property
    def most_failed(self) -> int:
        """How many failed rows may be read at once."""
        return min(READ_ROWS, self._fitting_rows)
