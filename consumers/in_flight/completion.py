"""`Completion`: takes settled batches in the poll thread, and has their records counted out.

The settling thread puts them to `SettledBatches`; each turn of the poll thread takes them out here. The offset of a
settled record is complete then (`count_complete`), but not that of an interrupted one: it is delivered again.
"""

from __future__ import annotations

import math
import time
from collections import Counter

from ..commits.commits import count_complete
from ..ordering.lanes import Lanes
from ..records.outcomes import INTERRUPTED
from ..runners.kinds import RunnerRow
from .memory_bounds import MemoryBounds
from .settled import SettledBatches


class Completion:
    """Owned by the poll thread; without I/O.

    Attributes:
        outcomes: {outcome's class name: how many}, since the start.
        latest_at_s: `time.monotonic()` at which the latest batch was taken.
    """

    def __init__(self, settled: SettledBatches, memory_bounds: MemoryBounds, runners: RunnerRow, lanes: Lanes) -> None:
        self._settled = settled
        self._memory_bounds = memory_bounds
        self._runners, self._lanes = runners, lanes
        self.outcomes: Counter[str] = Counter()
        self.latest_at_s = -math.inf

    def note_settled(self) -> None:
        """Take what was settled since the last call."""
        for batch in self._settled.drain():
            for assignment, records in batch.done_parts:
                self._memory_bounds.end_part(assignment, records)
                count_complete(assignment, records)
            self._memory_bounds.end([item.record for item in batch.others])
            for item in batch.others:
                if item.outcome is not INTERRUPTED:
                    count_complete(item.record.assignment, [item.record])
            self._runners.note_settled()
            self._lanes.note_settled(batch.others)
            self.outcomes.update(batch.outcomes)
            self.latest_at_s = time.monotonic()
