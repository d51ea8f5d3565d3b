"""Runs sync jobs in threads. Runners take ready records by the handful, and from each other when there are no more.

Waking a thread and handing it the interpreter costs more than a short job, so one runner is woken for a delivery, and
takes several records at once. Only when it does not get through them quickly, because jobs wait or compute, are
others woken to share: a thread looks every few milliseconds while there is work. Records that a runner has taken and
not begun stay where others can take them, so that a slow job holds up no other.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Collection
from contextlib import suppress
from functools import partial
from itertools import count
from typing import Final

from ..guarded_thread import GuardedThread, first_crash
from ..records.assignment import Assignment
from ..records.record import Record, copied, take_out
from .kinds import Ready, Runners, drop_ready, in_ready
from .slots import SettleDone, Slot

MAX_HANDFUL: Final = 64
SPREAD_INTERVAL_S: Final = 0.002
STALLED_AFTER_S: Final = 0.02
"""Runners may also be held up outside of jobs, such as by a schema that must be fetched first."""
FEW: Final = 2

RunOne = Callable[[Record, Slot], None]


class ThreadRunners(Runners[Slot]):
    """A fixed number of threads, and as many again at most in place of those whose jobs are stuck.

    `run_one` must not raise.
    """

    word = "threads"

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
        self._ticks = 0
        self._first_done: dict[Slot, Record] = {}
        self._run_one = run_one
        self._make_slot = make_slot
        self._condition = threading.Condition()
        self._ready: Ready = deque() if ready is None else ready
        self._name = name
        self._numbers = count()
        self._taken: dict[Slot, deque[Record]] = {}
        self._next_of: dict[Slot, tuple[Record | None, float]] = {}
        self._size = self.size = size
        self._replaced = 0
        self._idle = 0
        self._begun = 0
        self._enough = False
        self._is_stopping = False
        self._has_work = threading.Event()
        self._threads = [self._make_runner() for _ in range(size)]
        self._threads.append(GuardedThread(f"stoker-spread-{name}", self._spread))

    def _make_runner(self) -> GuardedThread:
        name = f"stoker-run-{self._name}-{next(self._numbers)}"
        slot, mine = self._make_slot(name), deque[Record]()
        self._taken[slot] = mine
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
        return list(self._taken)

    @property
    def ready(self) -> int:
        """Records that could run at once, were a runner free."""
        return len(self._ready) + sum(map(len, list(self._taken.values())))

    def waiting_records(self) -> list[Record]:
        """These records, as far as none of them has begun meanwhile; called from any thread."""
        taken = [record for records in list(self._taken.values()) for record in copied(records)]
        return in_ready(self._ready) + taken

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def make_ready(self, records: list[Record]) -> None:
        """Offer records of different lanes to the runners."""
        with self._condition:
            is_quiet = self._idle == self._size or (len(records) <= FEW and not self._ready)
            self._ready.extend(records)
            if self._idle and is_quiet:
                self._condition.notify()
            if not self._has_work.is_set():
                self._has_work.set()

    def drop(self, assignments: Collection[Assignment]) -> list[Record]:
        """Take out the records of partitions that are being given away, as far as they have not begun."""
        dropped: list[Record] = []
        with self._condition:
            dropped += drop_ready(self._ready, assignments)
            for taken in self._taken.values():
                dropped += take_out(taken, assignments)
        return dropped

    def replace(self, slot: Slot) -> bool:
        """Start another runner in place of one whose job is stuck; that one ends when its job does.

        False where as many stuck jobs as there are runners have been replaced: threads must not grow without end.
        """
        with self._condition:
            if slot.is_replaced or self._is_stopping:
                return True
            if self._replaced >= self._size:
                return False
            self._replaced += 1
            slot.is_replaced = True
            self._ready.extendleft(reversed(_taken_from(self._taken[slot], MAX_HANDFUL)))
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
            for taken in self._taken.values():
                taken.clear()
            self._condition.notify_all()
            self._has_work.set()
        for slot in self.slots:
            self._settle_done(slot.done)

    def _spread(self) -> None:
        """Every few milliseconds while there is work, wake idle runners or let busy ones rest.

        A runner whose jobs wait or compute is nearly always found inside of one. One with short jobs is found before
        or after them, waiting for the interpreter, and more runners would only make it wait longer. By chance, one look
        finds it inside all the same: more are woken only after two looks in succession.
        """
        pause, begun, moved_s, were_inside = threading.Event(), 0, 0.0, True
        while not self._is_stopping:
            self._has_work.wait()
            pause.wait(SPREAD_INTERVAL_S)
            with self._condition:
                if begun != self._begun:
                    begun, moved_s = self._begun, time.monotonic()
                are_inside = self._are_inside()
                is_stalled = time.monotonic() - moved_s > STALLED_AFTER_S
                self._enough = not is_stalled and not (are_inside and were_inside)
                were_inside = are_inside
                self._free_stalled(time.monotonic())
                self._wake_idle()
                self._ticks += 1
            self._settle_behind_slow()

    def _are_inside(self) -> bool:
        """Whether most runners that do not rest are inside of a job; False where all rest, as one has been woken."""
        inside = sum(slot.run is not None and not slot.is_replaced for slot in self._taken)
        return 0 < self._size - self._idle <= inside * 2

    def _free_stalled(self, now_s: float) -> None:
        """Take back what a runner has taken and does not get to, since its job is slow: idle ones look at it only when
        nothing else is ready, which under a backlog is never."""
        for slot, mine in self._taken.items():
            try:
                following = mine[0]
            except IndexError:
                following = None
            known, since_at_s = self._next_of.get(slot, (None, now_s))
            if following is None or following is not known:
                self._next_of[slot] = following, now_s
            elif now_s - since_at_s > STALLED_AFTER_S:
                self._ready.extendleft(reversed(_taken_from(mine, MAX_HANDFUL)))

    def _settle_behind_slow(self) -> None:
        """Hand over what is done while its runner is inside of a slow job, from the second look on."""
        seen: dict[Slot, Record] = {}
        for slot in self.slots:
            try:
                first = slot.done[0] if slot.done else None
            except IndexError:  # its runner has handed them over in between
                first = None
            if first is None:
                continue
            seen[slot] = first
            if first is self._first_done.get(slot):
                self._settle_done(slot.done)
        self._first_done = seen

    def _wake_idle(self) -> None:
        waiting = len(self._ready) + sum(map(len, self._taken.values()))
        if not waiting:
            if not any(slot.done for slot in self._taken):
                self._has_work.clear()
        elif not self._enough:
            self._condition.notify(min(self._idle, waiting))

    def _run(self, slot: Slot, mine: deque[Record]) -> None:
        run_one, settle_done, done, ticks = self._run_one, self._settle_done, slot.done, 0
        while self._take(slot, mine):
            while True:
                try:
                    record = mine.popleft()
                except IndexError:  # the rest was taken by idle runners
                    break
                self._begun += 1  # a lost update among threads does no harm: it shows only that something moves
                run_one(record, slot)
                if ticks != self._ticks:  # what is done has waited for some 2 ms
                    ticks = self._ticks
                    settle_done(done)
            settle_done(done)

    def _take(self, slot: Slot, mine: deque[Record]) -> bool:
        """Fill `mine` with the next handful, waiting for it; False at the end."""
        with self._condition:
            while not self._is_stopping and not slot.is_replaced:
                if not self._may_rest() and (handful := self._handful() or self._others_half()):
                    mine.extend(handful)
                    return True
                self._idle += 1
                self._condition.wait()
                self._idle -= 1
            self._retire(slot)
            return False

    def _retire(self, slot: Slot) -> None:
        """Forget a runner whose job was stuck and has ended after all: another one has its place."""
        if slot.is_replaced:
            del self._taken[slot]
            self._next_of.pop(slot, None)
            self._replaced -= 1
            self._threads = [thread for thread in self._threads if not thread.is_current]

    def _may_rest(self) -> bool:
        """Whether the runner that asks is not needed: others are at work, and have short jobs."""
        return self._enough and self._idle < self._size - 1

    def _handful(self) -> list[Record]:
        """The next records: a runner's part of all, or more while jobs are so short that few runners are at work."""
        part = len(self._ready) if self._enough else -(-len(self._ready) // len(self._taken))
        if not isinstance(self._ready, deque):
            return _taken_by_priority(self._ready, min(self._ready.handful, part) if self._enough else 1)
        size = min(MAX_HANDFUL, part)
        return [self._ready.popleft() for _ in range(size)]

    def _others_half(self) -> list[Record]:
        """Half of what the runner with the longest handful has not begun."""
        longest = max(self._taken.values(), key=len)
        return _taken_from(longest, -(-len(longest) // 2))


def _taken_by_priority(ready: Ready, most: int) -> list[Record]:
    """Take the next records: few, as an urgent one that comes waits for those that a runner has taken."""
    taken: list[Record] = []
    with suppress(IndexError):  # the keys of all others are in hand
        while len(taken) < most:
            taken.append(ready.popleft())
    return taken


def _taken_from(queue: deque[Record], most: int) -> list[Record]:
    """Take records, in their order, from the end of a queue from whose begin its owner goes on taking, one by one."""
    taken: list[Record] = []
    for _ in range(most):
        try:
            taken.append(queue.pop())
        except IndexError:  # its owner was faster
            break
    taken.reverse()
    return taken
