"""Runs sync jobs in threads. Runners take ready records by the handful, and from each other when there are no more.

Waking a thread and handing it the interpreter costs more than a short job, so one runner is woken for a delivery, and
takes several records at once. Only when it does not get through them quickly, because jobs wait or compute, are
others woken to share: a `Spreader` looks every few milliseconds while there is work. Records that a runner has taken
and not begun stay where others can take them, so that a slow job holds up no other.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Collection
from functools import partial
from itertools import count
from typing import Final

from ..guarded_thread import GuardedThread, first_crash
from ..progress.assignment import Assignment
from ..records.record import Record, copied, take_out
from .kinds import Ready, Runners, drop_ready, in_ready
from .slots import SettleDone, Slot
from .spreading import Spreader
from .thread_runner import MAX_HANDFUL, MINE, ThreadRunner, count_taken, take_back, take_by_priority

FEW: Final = 2

RunOne = Callable[[Record, Slot], None]


class ThreadRunners(Runners[Slot]):
    """A fixed number of threads, and as many again at most in place of those whose jobs are stuck.

    `run_one` must not raise.
    """

    kind = "threads"

    def __init__(
        self,
        size: int,
        run_one: RunOne,
        name: str,
        make_slot: Callable[[str], Slot] = Slot,
        *,
        settle_done: SettleDone = deque[Record].clear,
        ready: Ready | None = None,
    ) -> None:
        self._settle_done = settle_done
        self._run_one = run_one
        self._make_slot = make_slot
        self._condition = threading.Condition()
        self._ready: Ready = deque() if ready is None else ready
        self._name = name
        self._numbers = count()
        self._runners: dict[Slot, ThreadRunner] = {}
        self.size = size
        self._replaced = 0
        self._is_stopping = False
        self._spreader = Spreader(self._condition, self._ready, self._runners, size, settle_done)
        self._threads = [self._make_runner() for _ in range(size)]
        self._threads.append(GuardedThread(f"stoker-spread-{name}", self._spreader.look_until_stopped))

    def _make_runner(self) -> GuardedThread:
        name = f"stoker-run-{self._name}-{next(self._numbers)}"
        slot, mine = self._make_slot(name), deque[Record]()
        self._runners[slot] = ThreadRunner(slot, mine)
        return GuardedThread(name, partial(self._run, slot, mine))

    @property
    def crashed(self) -> BaseException | None:
        """Why jobs cannot go on; None while they can.

        Without the spreading thread, runners that rest would sleep for good. Each runner that fails is one less.
        """
        return first_crash(list(self._threads))

    @property
    def slots(self) -> list[Slot]:
        """All slots, also those of stuck jobs; called from any thread."""
        return list(self._runners)

    @property
    def ready(self) -> int:
        """Records that could run at once, were a runner free."""
        return len(self._ready) + count_taken(list(self._runners.values()))

    def waiting_records(self) -> list[Record]:
        """These records, as far as none of them has begun meanwhile; called from any thread."""
        taken = [record for runner in list(self._runners.values()) for record in copied(runner.mine)]
        return in_ready(self._ready) + taken

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def make_ready(self, records: list[Record]) -> None:
        """Offer records of different lanes to the runners."""
        spreader = self._spreader
        with self._condition:
            is_quiet = spreader.idle == self.size or (len(records) <= FEW and not self._ready)
            self._ready.extend(records)
            if spreader.idle and is_quiet:
                self._condition.notify()
            if not spreader.has_work.is_set():
                spreader.has_work.set()

    def drop(self, assignments: Collection[Assignment]) -> list[Record]:
        """Take out the records of partitions that are being given away, as far as they have not begun."""
        dropped: list[Record] = []
        with self._condition:
            dropped += drop_ready(self._ready, assignments)
            for runner in self._runners.values():
                dropped += take_out(runner.mine, assignments)
        return dropped

    def replace(self, slot: Slot) -> bool:
        """Start another runner in place of one whose job is stuck; that one ends when its job does.

        False where as many stuck jobs as there are runners have been replaced: threads must not grow without end.
        """
        with self._condition:
            if slot.is_replaced or self._is_stopping:
                return True
            if self._replaced >= self.size:
                return False
            self._replaced += 1
            slot.is_replaced = True
            self._ready.extendleft(reversed(take_back(self._runners[slot].mine)))
            thread = self._make_runner()
            self._threads.append(thread)
            self._condition.notify_all()  # the job may have ended just now, and its runner rest already
        thread.start()
        return True

    def interrupt(self) -> None:
        """Start no further record; jobs that run go on until they end, and `wait_ended` waits for that."""
        self.stop()

    def wait_ended(self, give_up_at_s: float) -> None:
        """Wait for the end of the threads: each ends when the outcome of its last job was handed over."""
        for thread in list(self._threads):
            thread.join(max(0.0, give_up_at_s - time.monotonic()))

    def stop(self) -> None:
        """Start no further record; jobs that run go on until they end."""
        with self._condition:
            self._is_stopping = True
            self._ready.clear()
            for runner in self._runners.values():
                runner.mine.clear()
            self._condition.notify_all()
            self._spreader.stop()
        for slot in self.slots:
            self._settle_done(slot.done)

    def _run(self, slot: Slot, mine: deque[Record]) -> None:
        run_one, settle_done, done, spreader, ticks = self._run_one, self._settle_done, slot.done, self._spreader, 0
        while self._take(slot, mine):
            while True:
                try:
                    record = mine.popleft()
                except IndexError:  # the rest was taken by idle runners
                    break
                spreader.begun += 1  # a lost update among threads does no harm: it shows only that something moves
                run_one(record, slot)
                if ticks != spreader.ticks:  # what is done has waited for some 2 ms
                    ticks = spreader.ticks
                    settle_done(done)
            settle_done(done)

    def _take(self, slot: Slot, mine: deque[Record]) -> bool:
        """Fill `mine` with the next handful, waiting for it; False at the end."""
        with self._condition:
            while not self._is_stopping and not slot.is_replaced:
                if not self._may_rest() and (handful := self._handful() or self._others_half()):
                    mine.extend(handful)
                    return True
                self._spreader.idle += 1
                self._condition.wait()
                self._spreader.idle -= 1
            self._retire(slot)
            return False

    def _retire(self, slot: Slot) -> None:
        """Forget a runner whose job was stuck and has ended after all: another one has its place."""
        if slot.is_replaced:
            del self._runners[slot]
            self._replaced -= 1
            self._threads = [thread for thread in self._threads if not thread.is_current]

    def _may_rest(self) -> bool:
        """Whether the runner that asks is not needed: others are at work, and have short jobs."""
        return self._spreader.is_enough and self._spreader.idle < self.size - 1

    def _handful(self) -> list[Record]:
        """The next records: a runner's part of all, or more while jobs are so short that few runners are at work."""
        is_enough = self._spreader.is_enough
        part = len(self._ready) if is_enough else -(-len(self._ready) // len(self._runners))
        if not isinstance(self._ready, deque):
            return take_by_priority(self._ready, min(self._ready.handful, part) if is_enough else 1)
        size = min(MAX_HANDFUL, part)
        return [self._ready.popleft() for _ in range(size)]

    def _others_half(self) -> list[Record]:
        """Half of what the runner with the longest handful has not begun."""
        longest = max(map(MINE, self._runners.values()), key=len)
        return take_back(longest, -(-len(longest) // 2))
