"""`Fetching`: what a turn takes in: delayed records that are due, and what the consumers have, as far as there is room.

No poll waits while there is something else to do.
"""

from __future__ import annotations

import time
from typing import Final

from confluent_kafka import Message

from ..declared.intake import DeclaredIntake
from ..group.member import GroupMember
from ..partitions.commits import Commits
from ..polling.backpressure import Backpressure
from ..polling.dispatch import Dispatch
from ..polling.tier_reader import TierReader

FETCH_LIMIT: Final = 500
"""The more records of a partition come at once, the more of them wait behind others of their key."""
POLL_TIMEOUT_S: Final = 0.1
SHORT_POLL_TIMEOUT_S: Final = 0.02
REREAD_TIMEOUT_S: Final = 0.001
BACKLOG_TIMEOUT_S: Final = 0.005
PRIORITIES_TIMEOUT_S: Final = 0.01
"""Only a record of the main topic ends a poll; one of a priority is seen after it."""
TIERS_INTERVAL_S: Final = 0.02


class Fetching:
    """Owned by the poll thread."""

    def __init__(
        self,
        member: GroupMember,
        tiers: TierReader,
        intake: DeclaredIntake,
        *,
        backpressure: Backpressure,
        dispatch: Dispatch,
        commits: Commits,
    ) -> None:
        self._member = member
        self._tiers, self._priorities = tiers, tiers.priorities
        self._intake, self._due, self._reread = intake.arriving, intake.due, intake.reread
        self._backpressure = backpressure
        self._dispatch = dispatch
        self._commits = commits
        self._next_tiers_at_s = 0.0

    def turn(self) -> None:
        """Take what is due, then what can be fetched; wait a moment where there is neither."""
        self._take_priorities()
        self._due.take()
        self._reread.turn()
        self._take_priorities()  # again: what was read above may have taken a while
        has_more = self._take_delayed()
        if self._backpressure.may_fetch():
            self._intake.take(self._fetch(0.0 if has_more else self._poll_timeout_s()))
        else:
            self._rest()

    def last_turn(self) -> None:
        """Poll, so that the partitions stay ours."""
        self._intake.take(self._fetch(SHORT_POLL_TIMEOUT_S))

    def _rest(self) -> None:
        """Wait for room. What lanes wait for is read again turn by turn, and may be all that there is to do."""
        within_s = REREAD_TIMEOUT_S if self._reread.is_busy else SHORT_POLL_TIMEOUT_S
        self._backpressure.rest(self._member.consumer, within_s)
        if self._backpressure.is_paused:
            self._intake.take(self._fetch(within_s))

    def _poll_timeout_s(self) -> float:
        calendar, dispatch = self._backpressure.calendar, self._dispatch
        due_at_s = min(filter(None, (calendar.next_due_at_s, dispatch.gates.next_at_s)), default=None)
        if self._reread.is_busy:
            return REREAD_TIMEOUT_S
        if dispatch.lanes.backlog:
            return BACKLOG_TIMEOUT_S  # what a lane wants does not end a poll
        if self._commits.is_opening:
            return SHORT_POLL_TIMEOUT_S  # the answer does not end a poll
        longest_s = PRIORITIES_TIMEOUT_S if self._priorities else POLL_TIMEOUT_S
        return longest_s if due_at_s is None else min(longest_s, max(0.0, due_at_s - time.time()))

    def _fetch(self, timeout_s: float) -> list[Message]:
        """Take what is there, or wait for one message: `consume` with a timeout would wait until its batch is full.

        In this order because each call gives up the interpreter, and under load gets it back late.
        """
        room, ahead = self._backpressure.room, self._dispatch.read_ahead
        limit = min(FETCH_LIMIT, room) if ahead is None else ahead.limit(FETCH_LIMIT, room)
        at_hand = self._member.consumer.consume(max(1, limit), 0)
        if at_hand or timeout_s == 0:
            return at_hand
        first = self._member.consumer.poll(timeout_s)
        return [] if first is None else [first]

    def _take_priorities(self) -> None:
        """Take jobs of the queue's priorities, as far as there is room for them."""
        if self._priorities:
            self._intake.take(self._priorities.fetch(time.monotonic(), self._room_for))

    def _room_for(self, priority: str) -> int:
        """How many more jobs of a priority may be fetched: none where enough of them are ready."""
        ready, share = self._dispatch.ready, self._backpressure.priority_share
        left = 0 if ready is None else share - ready.count_of(priority)
        return min(left, self._backpressure.room_for(priority)) if left >= share / 2 else 0

    def _take_delayed(self) -> bool:
        """Take records of tiers and delays, now and then, before they are due. True if there may be more."""
        now_s = time.monotonic()
        if now_s < self._next_tiers_at_s:
            return False
        delayed = self._tiers.fetch()
        has_more = bool(delayed)
        self._intake.take(delayed)
        self._next_tiers_at_s = now_s if has_more else now_s + TIERS_INTERVAL_S
        return has_more
