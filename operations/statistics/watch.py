"""`Watch`: whether a Faust process still counts, judged from outside. Pure.

Faust's consumers are known to stop without an error. So a process is trusted for as long as it reports each second, and
its positions move where there are events to count.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

START_S: Final = 60.0
"""How long a process may take to its first snapshot: it imports, joins its group, and reads what was counted."""


class Watch:
    """Watches one Faust process from its start to its end.

    Args:
        stall_s: how long it may be silent, or leave an event uncounted.

    Attributes:
        positions: {partition of this process: all events below are counted}.
        has_beaten: whether it has written a snapshot.
    """

    def __init__(self, started_at_s: float, stall_s: float) -> None:
        self.positions: Mapping[int, int] = {}
        self._stall_s = stall_s
        self._last_seen_at_s = started_at_s
        self.has_beaten = False
        self._since: dict[int, tuple[int, float]] = {}

    def beat(self, now_s: float, positions: Mapping[int, int]) -> None:
        """Note a snapshot."""
        self.positions = positions
        self._last_seen_at_s, self.has_beaten = now_s, True
        if positions:
            self.note(now_s, positions)

    def note(self, now_s: float, positions: Mapping[int, int]) -> None:
        """Note how far partitions are; of a process that has none, those of its group, for others to count."""
        for partition, offset in positions.items():
            if partition not in self._since or self._since[partition][0] != offset:
                self._since[partition] = offset, now_s
        for partition in self._since.keys() - positions.keys():
            del self._since[partition]

    def excuse(self, now_s: float) -> None:
        """Begin to measure again, since the brokers do not answer."""
        self._last_seen_at_s = now_s
        self._since = {partition: (offset, now_s) for partition, (offset, _) in self._since.items()}

    def stall(self, now_s: float, ends: Mapping[int, int]) -> str | None:
        """Judge, by {partition: its end}: how it stalls, as a clause for people; None while all is well."""
        silent_s = now_s - self._last_seen_at_s
        if silent_s > (self._stall_s if self.has_beaten else max(START_S, self._stall_s)):
            return f"it has written no snapshot for {silent_s:.0f} s"
        for partition, (offset, since_at_s) in sorted(self._since.items()):
            if offset >= ends.get(partition, 0):
                self._since[partition] = offset, now_s  # nothing to count: the clock runs from the next event on
            elif now_s - since_at_s > self._stall_s:
                return (
                    f"partition {partition} has stood at {offset} of {ends[partition]} for {now_s - since_at_s:.0f} s"
                )
        return None
