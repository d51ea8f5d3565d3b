"""`PollTimeout`: how long a poll may wait for a record.

It waits until the next instant at which something is due, and for a short time while something else may come that does
not end a poll: an outcome that is settled, what a lane wants, a restored partition, a record of a priority.
"""

from __future__ import annotations

import time
from typing import Final

from ..backlog.lane_backlog import LaneBacklog
from ..delays.calendar import Calendar
from ..gates.gate_row import GateRow
from ..in_flight.completion import Completion
from ..intake.reread_records import RereadRecords
from ..rebalance.rebalance import Rebalance

POLL_TIMEOUT_S: Final = 0.1
SHORT_POLL_TIMEOUT_S: Final = 0.02
REREAD_TIMEOUT_S: Final = 0.001
BACKLOG_TIMEOUT_S: Final = 0.005
PRIORITIES_TIMEOUT_S: Final = 0.01
"""Only a record of the main topic ends a poll; one of a priority is seen after it."""


class PollTimeout:
    """Asked by the poll thread; no other part ends a poll.

    Args:
        backlog: of the queue's lanes.
        has_priorities: whether the queue declares any.
    """

    def __init__(
        self,
        calendar: Calendar,
        gates: GateRow,
        backlog: LaneBacklog,
        reread: RereadRecords,
        rebalance: Rebalance,
        completion: Completion,
        *,
        has_priorities: bool,
    ) -> None:
        self._calendar, self._gates, self._backlog = calendar, gates, backlog
        self._reread, self._rebalance = reread, rebalance
        self._completion = completion
        self._longest_s = PRIORITIES_TIMEOUT_S if has_priorities else POLL_TIMEOUT_S

    def poll_s(self) -> float:
        """How long a poll may wait where there is room for what it fetches."""
        if self._reread.is_busy:
            return REREAD_TIMEOUT_S
        if self._backlog:
            return BACKLOG_TIMEOUT_S  # what a lane wants does not end a poll
        if self._rebalance.is_beginning:
            return SHORT_POLL_TIMEOUT_S
        longest_s = self._longest_s
        if time.monotonic() - self._completion.latest_at_s < POLL_TIMEOUT_S:
            longest_s = min(longest_s, SHORT_POLL_TIMEOUT_S)  # what is settled next ends no poll, and is to be known
        due_at_s = min(filter(None, (self._calendar.next_due_at_s, self._gates.next_at_s)), default=None)
        return longest_s if due_at_s is None else min(longest_s, max(0.0, due_at_s - time.time()))

    def rest_s(self) -> float:
        """How long to wait for room: what lanes wait for is read again turn by turn, and may be all there is to do."""
        return REREAD_TIMEOUT_S if self._reread.is_busy else SHORT_POLL_TIMEOUT_S
