"""`Fetching`: takes in records, at each turn of the poll thread, from all consumers and the calendar.

It takes the main topic's last, and only while there is room. `PollTimeout` says how long a poll may wait.
"""

from __future__ import annotations

import time
from typing import Final

from confluent_kafka import Message

from ..declared.intake_features import DeclaredIntake
from ..fairness.read_ahead import ReadAhead
from ..group.member import GroupMember
from ..in_flight.memory_bounds import MemoryBounds
from ..kafka.side_readers import SideReader
from .poll_timeout import SHORT_POLL_TIMEOUT_S, PollTimeout
from .priority_fetching import PriorityFetching

FETCH_LIMIT: Final = 500
"""The more records of a partition come at once, the more of them wait behind others of their key."""
SIDE_READ_INTERVAL_S: Final = 0.02


class Fetching:
    """Owned by the poll thread; `ahead` is None where tenants share nothing."""

    def __init__(
        self,
        member: GroupMember,
        side_reader: SideReader,
        priorities: PriorityFetching,
        *,
        intake: DeclaredIntake,
        memory_bounds: MemoryBounds,
        ahead: ReadAhead | None,
        timeout: PollTimeout,
    ) -> None:
        self._member = member
        self._side_reader, self._priorities = side_reader, priorities
        self._intake, self._due, self._reread = intake.arriving, intake.due, intake.reread
        self._memory_bounds = memory_bounds
        self._ahead = ahead
        self._timeout = timeout
        self._next_side_read_at_s = 0.0

    def turn(self) -> None:
        """Start what is due, then take what can be fetched; wait a moment where there is neither."""
        self._take_priorities()
        self._due.start_due()
        self._reread.turn()
        self._take_priorities()  # again: what was read above may have taken a while
        has_more = self._take_delayed()
        if not self._memory_bounds.may_fetch():
            self._rest()
        elif self._memory_bounds.is_spared():
            self._memory_bounds.wait_settled(self._timeout.rest_s())
        else:
            self._intake.take(self._fetch(0.0 if has_more else self._timeout.poll_s()))

    def last_turn(self) -> None:
        """Poll, so that the partitions stay ours."""
        self._intake.take(self._fetch(SHORT_POLL_TIMEOUT_S))

    def _rest(self) -> None:
        """Wait for room."""
        within_s = self._timeout.rest_s()
        self._memory_bounds.rest(self._member.consumer, within_s)
        if self._memory_bounds.is_paused:
            self._intake.take(self._fetch(within_s))

    def _fetch(self, timeout_s: float) -> list[Message]:
        """Take what is there, or wait for one message: `consume` with a timeout would wait until its batch is full.

        In this order because each call gives up the interpreter, and under load gets it back late.
        """
        room, ahead = self._memory_bounds.room, self._ahead
        limit = min(FETCH_LIMIT, room) if ahead is None else ahead.limit(FETCH_LIMIT, room)
        at_hand = self._member.consumer.consume(max(1, limit), 0)
        if at_hand or timeout_s == 0:
            return at_hand
        first = self._member.consumer.poll(timeout_s)
        return [] if first is None else [first]

    def _take_priorities(self) -> None:
        """Take jobs of the queue's priorities, as far as there is room for them."""
        if self._priorities:
            self._intake.take(self._priorities.fetch())

    def _take_delayed(self) -> bool:
        """Take records of waiting topics, now and then, before they are due. True if there may be more."""
        now_s = time.monotonic()
        if now_s < self._next_side_read_at_s:
            return False
        delayed = self._side_reader.fetch()
        has_more = bool(delayed)
        self._intake.take(delayed)
        self._next_side_read_at_s = now_s if has_more else now_s + SIDE_READ_INTERVAL_S
        return has_more
