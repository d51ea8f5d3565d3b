"""`Door`: what one producer knows of a full or nearly full queue, and how many more jobs it may send by that. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from .depth import Depth

FRESH_S: Final = 1.0
"""How long a figure counts: the bound on how late a producer learns that the queue is full, or has room again."""
ASK_EVERY_S: Final = 0.5
ASK_FULL_S: Final = 0.1
"""Between two readings while a call waits for room."""
ASK_AGAIN_S: Final = 0.02
"""Between two readings at the least, where the jobs that one allows are sent sooner than it gets old."""
REST_AFTER_S: Final = 10.0
"""A producer that has sent no job to the queue for so long asks nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Full:
    """The queue is full, by a figure that counts."""

    depth: Depth
    measured_ago: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Unread:
    """Another figure is needed to know. `number` is that of the last one."""

    number: int


Obstacle = Full | Unread


class Door:
    """The admission of one queue. Its readings allow as many jobs as are missing to `max_waiting`, for a second.

    Jobs on their way to the brokers count as if they waited already. Those of bulks are not reported one by one: of
    them, as many count as may be among all that bulks have on their way. Guarded by the lock of its owner, which gives
    all instants, in seconds of one monotonic clock.

    Attributes:
        is_blind: the last question failed, so that all jobs are admitted.
        number: how many readings there have been.
    """

    def __init__(self, max_waiting: int) -> None:
        self._max_waiting = max_waiting
        self._depth = Depth(waiting=0)
        self._allowed = 0
        self._admitted = self._unconfirmed = self._unseen = 0
        self._admitted_in_bulk = self._unseen_of_bulks = 0
        self._read_at_s = self._used_at_s = self._next_at_s = -math.inf
        self._is_wanted = self._is_waited_for = False
        self.is_blind = False
        self.number = 0

    def try_admit(self, now_s: float, *, in_bulk: bool = False) -> Obstacle | None:
        """Admit one job, or return what is in the way."""
        self._used_at_s = now_s
        age_s = now_s - self._read_at_s
        if self.is_blind or (age_s <= FRESH_S and self._allowed > 0):
            self._allowed -= 1
            self.admit(in_bulk=in_bulk)
            return None
        if age_s <= FRESH_S and self._depth.waiting >= self._max_waiting:
            return Full(depth=self._depth, measured_ago=timedelta(seconds=age_s))
        self._is_wanted = True
        return Unread(number=self.number)

    def admit(self, *, in_bulk: bool) -> None:
        """Count a job as admitted; `note_ended` is to be called for it, unless it is part of a bulk."""
        self._admitted += 1
        if in_bulk:
            self._admitted_in_bulk += 1
        else:
            self._unconfirmed += 1

    def note_ended(self) -> None:
        """Note that the brokers have confirmed an admitted job, or that it was not sent."""
        self._unconfirmed = max(0, self._unconfirmed - 1)

    def note_waiting(self) -> None:
        """Note that a call waits for room, so that the next reading is to come soon."""
        self._is_waited_for = True

    def due_at_s(self) -> float | None:
        """When to ask next; None while the queue gets no jobs."""
        if self._is_wanted:
            return self._next_at_s + ASK_AGAIN_S
        if self._used_at_s < self._next_at_s - REST_AFTER_S or self._used_at_s == -math.inf:
            return None
        return self._next_at_s + (ASK_FULL_S if self._is_waited_for else ASK_EVERY_S)

    def begin_asking(self, bulks_in_flight: int, now_s: float) -> None:
        """Note that a question is on its way, whose answer may lack what is on its way as well.

        Args:
            bulks_in_flight: jobs of the producer's bulks, to any queue, that the brokers have not confirmed.
        """
        self._next_at_s = now_s
        self._unseen_of_bulks = min(bulks_in_flight, self._unseen_of_bulks + self._admitted_in_bulk)
        self._unseen = self._unconfirmed + self._unseen_of_bulks
        self._admitted = self._admitted_in_bulk = 0
        self._is_wanted = self._is_waited_for = False

    def note_read(self, depth: Depth, now_s: float) -> bool:
        """Take a reading; returns whether it is the first one after failures."""
        was_blind, self.is_blind = self.is_blind, False
        self._depth, self._read_at_s = depth, now_s
        self._allowed = max(0, self._max_waiting - depth.waiting - self._unseen - self._admitted)
        self.number += 1
        return was_blind

    def note_failed(self) -> bool:
        """Admit all jobs until a reading succeeds; returns whether this is the first failure of several."""
        was_blind, self.is_blind = self.is_blind, True
        self.number += 1
        return not was_blind
