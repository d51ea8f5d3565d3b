"""Runs sync jobs in threads. Runners take ready records by the handful, and from each other when there are no more.

Waking a thread and handing it the interpreter costs more than a short job, so a runner takes several records at once.
A slow job must not hold up the ones taken with it: they stay where idle runners can take them.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Collection
from typing import Final

from .record import Assignment, Record, take_out
from .slots import Slot

MAX_HANDFUL: Final = 64

RunOne = Callable[[Record, Slot], None]


class ThreadRunners:
    """A fixed number of threads; `run_one` must not raise."""

    def __init__(self, size: int, run_one: RunOne, name: str) -> None:
        self._run_one = run_one
        self._condition = threading.Condition()
        self._ready: deque[Record] = deque()
        self._taken: list[deque[Record]] = [deque() for _ in range(size)]
        self._idle = 0
        self._is_stopping = False
        self.slots = [Slot() for _ in range(size)]
        self._threads = [
            threading.Thread(target=self._run, args=(number,), name=f"stoker-run-{name}-{number}", daemon=True)
            for number in range(size)
        ]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def make_ready(self, records: list[Record]) -> None:
        """Offer records of different lanes to the runners."""
        with self._condition:
            self._ready.extend(records)
            if self._idle:
                self._condition.notify()

    def drop(self, assignments: Collection[Assignment]) -> list[Record]:
        """Take out the records of partitions that are being given away, as far as they have not begun."""
        dropped: list[Record] = []
        with self._condition:
            for queue in (self._ready, *self._taken):
                dropped += take_out(queue, assignments)
        return dropped

    def stop(self) -> None:
        """Start no further record; jobs that run go on until they end."""
        with self._condition:
            self._is_stopping = True
            self._ready.clear()
            for taken in self._taken:
                taken.clear()
            self._condition.notify_all()

    def _run(self, number: int) -> None:
        mine, slot, run_one = self._taken[number], self.slots[number], self._run_one
        while self._take(mine):
            while True:
                try:
                    record = mine.popleft()
                except IndexError:  # the rest was taken by idle runners
                    break
                run_one(record, slot)

    def _take(self, mine: deque[Record]) -> bool:
        """Fill `mine` with the next handful, waiting for it; False at the end."""
        with self._condition:
            while not self._is_stopping:
                handful = self._handful() or self._others_half()
                if handful:
                    mine.extend(handful)
                    if self._idle and (self._ready or len(handful) > 1):
                        self._condition.notify()
                    return True
                self._idle += 1
                self._condition.wait()
                self._idle -= 1
            return False

    def _handful(self) -> list[Record]:
        size = min(MAX_HANDFUL, -(-len(self._ready) // len(self._taken)))
        return [self._ready.popleft() for _ in range(size)]

    def _others_half(self) -> list[Record]:
        """Half of what the runner with the longest handful has not begun."""
        longest = max(self._taken, key=len)
        stolen: list[Record] = []
        for _ in range(-(-len(longest) // 2)):
            try:
                stolen.append(longest.pop())
            except IndexError:  # its owner was faster
                break
        return stolen
