"""`FairRunners`: hands ready records to the runners tenant by tenant, and never many more than they begin soon.

What is with the runners runs in the order in which it came. So the worker keeps that short: one record for each slot,
and what the runners begin within `AHEAD_S`. All others wait in a `FairQueue`, one for each kind of runners.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from threading import Lock
from typing import Any, Final

from ...topology.declaration.fairness import FairBy
from ..progress.assignment import Assignment
from ..records.record import Record
from ..runners.kinds import RunnerRow, Runners
from .fair_queue import MOST_IDLE, FairQueue, Line, Load

AHEAD_S: Final = 0.05
"""The work that the runners have at hand, by their present pace: a tenant that had none waits for no more than it."""
HELD_S: Final = 0.002
"""Their work at hand while the poll thread passes a heavy tenant: a job that runs takes the interpreter from it."""
MEASURE_S: Final = 0.02
SPARE_PART: Final = 4
"""One record more for so many slots, where jobs are long, so that no runner waits for the next one."""


class _Feed:
    """The way to one kind of runners."""

    __slots__ = ("_ended", "_held_window", "_kind", "_measured_at_s", "_pace_per_s", "_window", "queue")

    def __init__(self, kind: Runners[Any], queue: FairQueue, now_s: float) -> None:
        self._kind = kind
        self.queue = queue
        self._measured_at_s = now_s
        self._ended = 0
        self._pace_per_s = 0.0
        self._held_window: int | None = None
        self._window = self._new_window()

    def _new_window(self) -> int:
        slots = len(self._kind.slots)
        return slots + max(1, -(-slots // SPARE_PART), int(self._pace_per_s * AHEAD_S))

    def hold(self) -> None:
        """Have the runners take a small part of their present pace at a time."""
        self._held_window = len(self._kind.slots) + int(self._pace_per_s * HELD_S)

    def let_go(self) -> None:
        """Have the runners take as many as they begin soon."""
        self._held_window = None

    def note_ended(self, number: int, now_s: float) -> None:
        """Measure the pace, and how many records the runners may have by that."""
        self._ended += number
        elapsed_s = now_s - self._measured_at_s
        if elapsed_s >= MEASURE_S:
            self._pace_per_s += (self._ended / elapsed_s - self._pace_per_s) / 2
            self._measured_at_s, self._ended = now_s, 0
            self._window = self._new_window()

    def pop(self) -> list[tuple[Record, Line]]:
        """Take what the runners have room for."""
        room = (self._held_window or self._window) - self.queue.busy
        return self.queue.pop(room) if room > 0 and self.queue.ready else []

    def hand_over(self, records: list[Record]) -> None:
        """Give records to the runners."""
        self._kind.make_ready(records)


class FairRunners(RunnerRow):
    """The runners of one queue, shared among tenants; safe to call from all threads.

    Attributes:
        loads: {tenant: its load}; read without the lock.
        ended: how many records have come from the runners, since the start.
        is_held: whether the runners begin little more than `turn` hands over.
    """

    def __init__(
        self, kinds: Sequence[Runners[Any]], fair_by: FairBy, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(kinds)
        self._clock = clock
        self._lock = Lock()
        self.loads: dict[bytes | None, Load] = {}
        self._feeds = {id(kind): _Feed(kind, FairQueue(fair_by.weight_of, self._load_of), clock()) for kind in kinds}
        self._feed_of = {id(feed.queue): feed for feed in self._feeds.values()}
        self._with_runners: dict[Record, Line] = {}
        self._again: Counter[Record] = Counter()
        self.ended = 0
        self.is_held = False

    def hold(self) -> None:
        """Have the runners begin little more than `turn` hands over, until `let_go`."""
        with self._lock:
            self.is_held = True
            for feed in self._feeds.values():
                feed.hold()
        self.turn()

    def let_go(self) -> None:
        """Have the runners begin as much as they can."""
        with self._lock:
            self.is_held = False
            for feed in self._feeds.values():
                feed.let_go()
        self.turn()

    def turn(self) -> None:
        """Hand over what there is room for."""
        with self._lock:
            handed = [(feed, self._taken_from(feed)) for feed in self._feeds.values()]
        for feed, taken in handed:
            if taken:
                feed.hand_over(taken)

    def _load_of(self, tenant: bytes | None) -> Load:
        load = self.loads.get(tenant)
        if load is None:
            if len(self.loads) >= MOST_IDLE:
                for name in [name for name, found in self.loads.items() if not found.count]:
                    del self.loads[name]
            load = self.loads[tenant] = Load()
        return load

    def _offer(self, runners: Runners[Any], records: list[Record]) -> None:
        feed = self._feeds[id(runners)]
        with self._lock:
            feed.queue.put(records)
            taken = self._taken_from(feed)
        if taken:
            feed.hand_over(taken)

    def _taken_from(self, feed: _Feed) -> list[Record]:
        taken, with_runners = feed.pop(), self._with_runners
        for record, line in taken:
            if record in with_runners:  # a gate has held it back and let it go, and its end is not noted yet
                self._again[record] += 1
            with_runners[record] = line
        return [record for record, _ in taken]

    def _leave_once(self, record: Record, default: None) -> Line | None:
        if not self._again[record]:
            return self._with_runners.pop(record, default)
        self._again -= Counter([record])
        return self._with_runners[record]

    def note_left(self, records: Iterable[Record]) -> None:
        """Note that these are with the runners no more, and hand over the next ones."""
        with self._lock:
            feeds = self._forget(records)
            handed = [] if self.is_held else [(feed, self._taken_from(feed)) for feed in feeds]
        for feed, taken in handed:
            if taken:
                feed.hand_over(taken)

    def _forget(self, records: Iterable[Record]) -> list[_Feed]:
        """Count records that have left the runners; returns the feeds that have room by that."""
        left: dict[Line, int] = {}
        leave = self._leave_once if self._again else self._with_runners.pop
        for record in records:
            line = leave(record, None)
            if line is not None:  # else it never was there, as one that a gate has held back
                left[line] = left.get(line, 0) + 1
        ended: dict[int, int] = {}
        for line, number in left.items():
            line.queue.end(line, number)
            ended[id(line.queue)] = ended.get(id(line.queue), 0) + number
        now_s = self._clock()
        feeds = [(self._feed_of[queue_id], number) for queue_id, number in ended.items()]
        for feed, number in feeds:
            self.ended += number
            feed.note_ended(number, now_s)
        return [feed for feed, _ in feeds]

    def drop(self, assignments: Collection[Assignment]) -> list[Record]:
        """Take back the records of these assignments that have not begun."""
        from_runners = super().drop(assignments)
        with self._lock:
            waiting = [record for feed in self._feeds.values() for record in feed.queue.drop(assignments)]
        self.note_left(from_runners)
        return from_runners + waiting

    @property
    def ready(self) -> int:
        """Records that could run at once, were a runner free."""
        return super().ready + self.waiting

    def waiting_records(self) -> list[Record]:
        """These records, as far as none of them has begun meanwhile; called from any thread."""
        with self._lock:
            waiting = [record for feed in self._feeds.values() for record in feed.queue.records()]
        return super().waiting_records() + waiting

    @property
    def waiting(self) -> int:
        """Records that wait until it is the turn of their tenant."""
        return sum(feed.queue.ready for feed in self._feeds.values())
