"""`Spreader`: looks every few milliseconds at the runners of a queue, and spreads the work over more or fewer of them.

A runner whose jobs wait or compute is nearly always found inside of one. One with short jobs is found before or after
them, waiting for the interpreter, and more runners would only make it wait longer.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Final

from .kinds import Ready
from .slots import SettleDone, Slot
from .thread_runner import ThreadRunner, count_taken, take_back

SPREAD_INTERVAL_S: Final = 0.002
STALLED_AFTER_S: Final = 0.02
"""Runners may also be held up outside of jobs, such as by a schema that must be fetched first."""


class Spreader:
    """Wakes idle runners, or lets busy ones rest, while there is work.

    It shares the lock, the ready records and the runners with `ThreadRunners`, which gives it a thread.

    Attributes:
        idle: how many runners rest; they count themselves, under the lock.
        begun: how many records have begun, as the runners count without the lock: it shows only that something moves.
        is_enough: whether the runners that do not rest get through their records quickly, so that no more are needed.
        ticks: how often it has looked, by which a runner knows how long something has been done.
        has_work: set where records were offered since it has found nothing to look at.
    """

    def __init__(
        self,
        condition: threading.Condition,
        ready: Ready,
        runners: Mapping[Slot, ThreadRunner],
        size: int,
        settle_done: SettleDone,
    ) -> None:
        self._condition = condition
        self._ready = ready
        self._runners = runners
        self._size = size
        self._settle_done = settle_done
        self._seen_begun = 0
        self._moved_at_s = 0.0
        self._were_inside = True
        self._is_stopping = False
        self.idle = 0
        self.begun = 0
        self.is_enough = False
        self.ticks = 0
        self.has_work = threading.Event()

    def stop(self) -> None:
        """Let `look_until_stopped` end."""
        self._is_stopping = True
        self.has_work.set()

    def look_until_stopped(self) -> None:
        """Look again and again; called in a thread of its own."""
        pause = threading.Event()
        while not self._is_stopping:
            self.has_work.wait()
            pause.wait(SPREAD_INTERVAL_S)
            with self._condition:
                self._look(time.monotonic())
            self._settle_behind_slow()

    def _look(self, now_s: float) -> None:
        """See whether those at work are enough.

        By chance, one look finds runners with short jobs inside of them all the same: more are woken only after two
        looks in succession.
        """
        if self._seen_begun != self.begun:
            self._seen_begun, self._moved_at_s = self.begun, now_s
        are_inside = self._are_inside()
        is_stalled = now_s - self._moved_at_s > STALLED_AFTER_S
        self.is_enough = not is_stalled and not (are_inside and self._were_inside)
        self._were_inside = are_inside
        self._free_stalled(now_s)
        self._wake_idle()
        self.ticks += 1

    def _are_inside(self) -> bool:
        """Whether half or more of the runners that do not rest are inside of a job.

        False where all rest, as one has been woken.
        """
        inside = sum(slot.run is not None and not slot.is_replaced for slot in self._runners)
        return 0 < self._size - self.idle <= inside * 2

    def _free_stalled(self, now_s: float) -> None:
        """Take back what a runner has taken and does not get to, since its job is slow: idle ones look at it only when
        nothing else is ready, which under a backlog is never."""
        for runner in self._runners.values():
            try:
                following = runner.mine[0]
            except IndexError:
                following = None
            if following is None or following is not runner.following:
                runner.following, runner.following_since_at_s = following, now_s
            elif now_s - runner.following_since_at_s > STALLED_AFTER_S:
                self._ready.extendleft(reversed(take_back(runner.mine)))

    def _wake_idle(self) -> None:
        waiting = len(self._ready) + count_taken(self._runners.values())
        if not waiting:
            if not any(slot.done for slot in self._runners):
                self.has_work.clear()
        elif not self.is_enough:
            self._condition.notify(min(self.idle, waiting))

    def _settle_behind_slow(self) -> None:
        """Hand over what is done while its runner is inside of a slow job, from the second look on."""
        for runner in list(self._runners.values()):
            done, seen = runner.slot.done, runner.first_done
            try:
                first = done[0] if done else None
            except IndexError:  # its runner has handed them over in between
                first = None
            runner.first_done = first
            if first is not None and first is seen:
                self._settle_done(done)
