"""`Parking`: how many records wait in memory behind others of their lane, and how many more may."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

from ..records.record import Record

FULL_RATIO: Final = 0.75
FAST_PER_S: Final = 10_000
"""Above it, putting a job aside and reading it again costs more than the others lose by waiting a moment.

It is a rate by the CPU time of the process: on a busy machine, what slows a lane down slows the reading as well.
"""
FAST_AT_LEAST_PER_S: Final = 5_000
"""The least rate by the clock for a lane that counts as fast: jobs that wait for something take no CPU time."""
SLOW_FOR_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class ParkingLimits:
    """The bounds on what parks in memory, over all lanes of a queue; beyond either, records are put aside.

    Attributes:
        records: of one lane at most half of it.
        size_bytes: of their payloads, keys and headers.
        patience_s: how long fetching waits to see whether full lanes go on fast.
    """

    records: int = 8_000
    size_bytes: int = 16 * 1024 * 1024
    patience_s: float = 0.05


USUAL_LIMITS: Final = ParkingLimits()


class Parking:
    """The count of what parks in memory; guarded by the lanes' lock, but for questions.

    Attributes:
        count: of all lanes.
        lane_part: how many records of one lane may park in memory.
    """

    def __init__(
        self,
        limits: ParkingLimits,
        *,
        clock: Callable[[], float] = time.monotonic,
        cpu_clock: Callable[[], float] = time.process_time,
    ) -> None:
        self.limits = limits
        self.lane_part = max(1, limits.records // 2)
        self._long_at = FULL_RATIO * self.lane_part
        self._clock, self._cpu_clock = clock, cpu_clock
        self._bytes = 0
        self._usual_bytes = 1.0
        self._went_on = 0
        self._since = 0.0, 0.0, 0
        self._is_watched = False
        self._slow_until_at_s = 0.0
        self._long_lane: Collection[Record] = ()
        self.count = 0

    @property
    def is_full(self) -> bool:
        """Whether nothing more may park in memory."""
        return self.count >= self.limits.records or self._bytes >= self.limits.size_bytes

    def park(self, record: Record, behind: Collection[Record]) -> bool:
        """Count a record that is to park behind these of its lane; False where there is no room for it.

        One call and no more, since nearly each record of a backlog comes by here.
        """
        in_lane, limits, size_bytes = len(behind), self.limits, record.size_bytes
        if in_lane >= self._long_at:
            self._long_lane = behind
        if in_lane >= self.lane_part or self.count >= limits.records or self._bytes >= limits.size_bytes:
            return False
        self.count += 1
        self._bytes += size_bytes
        self._usual_bytes += (size_bytes - self._usual_bytes) / 16
        return True

    def add(self, record: Record) -> None:
        """Count a record that was read again, for which there was room when it was wanted."""
        self.count += 1
        self._bytes += record.size_bytes
        self._usual_bytes += (record.size_bytes - self._usual_bytes) / 16

    def remove(self, record: Record) -> None:
        """Count a record that goes on."""
        self._went_on += 1
        self.count -= 1
        self._bytes -= record.size_bytes

    def leave(self, record: Record) -> None:
        """Count a record that parks here no more, and does not go on either."""
        self.count -= 1
        self._bytes -= record.size_bytes

    def room(self, behind: Collection[Record], coming: int) -> int:
        """How many more of a lane may be read again, with these in memory and so many of all lanes on their way."""
        by_size = int((self.limits.size_bytes - self._bytes) / self._usual_bytes) - coming
        return min(self.lane_part - len(behind), self.limits.records - self.count - coming, by_size)

    def is_draining(self) -> bool:
        """Whether memory for parked records is nearly full, or one lane's part, and they go on fast: fetching waits.

        Else one key with many short jobs would have nearly all of them read twice. A lane that stands still is found
        out within `patience_s`; then its records are put aside, and the others wait no more.
        """
        if len(self._long_lane) < self._long_at and not self.is_nearly_full:
            self._is_watched = False
            return False
        now_s = self._clock()
        if now_s < self._slow_until_at_s:
            return False
        if not self._is_watched:
            self._is_watched, self._since = True, (now_s, self._cpu_clock(), self._went_on)
        since_at_s, since_cpu_s, went_on = self._since
        if now_s - since_at_s < self.limits.patience_s:
            return True
        cpu_s = self._cpu_clock()
        fast = max(FAST_PER_S * (cpu_s - since_cpu_s), FAST_AT_LEAST_PER_S * (now_s - since_at_s))
        is_fast = self._went_on - went_on >= fast > 0
        self._since = now_s, cpu_s, self._went_on
        if not is_fast:
            self._slow_until_at_s, self._long_lane = now_s + SLOW_FOR_S, ()
        return is_fast

    @property
    def is_nearly_full(self) -> bool:
        """Whether memory for parked records is nearly full, of all lanes together."""
        limits = self.limits
        return self.count >= FULL_RATIO * limits.records or self._bytes >= FULL_RATIO * limits.size_bytes
