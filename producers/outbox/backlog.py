"""`BacklogLooks`: how many rows wait in an outbox and since when, looked up now and then by the relay that works."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import Final

from ...databases.outbox.rows import OutboxBacklog, OutboxTable
from ..metrics.all_metrics import OUTBOX_OLDEST, OUTBOX_ROWS
from ..metrics.sample import Sample

LOOK_EVERY_S: Final = 15.0
SHARE: Final = 0.01
"""A look takes this share of the relay's time at the most: one that takes long makes the next one wait."""
STATES: Final = ("waiting", "behind", "failed")


class BacklogLooks:
    """The relay's thread calls `look` and `forget`; any thread may call `samples`."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._found: tuple[OutboxBacklog, float] | None = None
        self._next_at_s = -math.inf

    def look(self, table: OutboxTable) -> None:
        """Look at the table, if it is time; raises the driver's errors."""
        began_at_s = self._monotonic()
        if began_at_s < self._next_at_s:
            return
        found, now_s = table.backlog(), self._monotonic()
        self._next_at_s = now_s + max(LOOK_EVERY_S, (now_s - began_at_s) / SHARE)
        self._found = found, self._next_at_s

    def forget(self) -> None:
        """Show nothing until the next look: another relay may work."""
        self._found, self._next_at_s = None, -math.inf

    def samples(self, table: str) -> Iterator[Sample]:
        """The samples of the last look; a row that a look should have found gone by now goes on to grow older."""
        if self._found is None:
            return
        found, next_s = self._found
        for state in STATES:
            yield Sample(OUTBOX_ROWS, (table, state), getattr(found, state))
        since_look_due_s = max(0.0, self._monotonic() - next_s) if found.oldest_age_s else 0.0
        yield Sample(OUTBOX_OLDEST, (table,), found.oldest_age_s + since_look_due_s)
