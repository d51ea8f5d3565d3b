"""`FairQueue`: the ready records of one kind of runners, in the order in which tenants have their turns. Pure.

Next comes the tenant that has the fewest records with the runners, for its weight; of equals, the one whose virtual
time is the lowest: it goes on by 1 / weight with each record. A tenant that had no work begins at the present virtual
time, so it has nothing saved up.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Collection
from itertools import count
from typing import Final

from ..progress.assignment import Assignment
from ..records.record import Record

MOST_IDLE: Final = 10_000
"""Tenants without work that are remembered; beyond it, all of them are forgotten."""
TURNS: Final = 8
"""Turns that each tenant has at least in what is taken at once, where that is much, as with very short jobs."""
MOST_AT_ONCE: Final = 16
"""Records of a tenant in one turn."""
_STALE_FACTOR: Final = 4


class Load:
    """The work of one tenant with all kinds of runners.

    Attributes:
        count: how many of its records are ready, or with the runners.
        waiting: how many of them are not with the runners.
    """

    __slots__ = ("count", "waiting")

    def __init__(self) -> None:
        self.count = self.waiting = 0


class Line:
    """The records of one tenant, in the order in which they became ready.

    Attributes:
        tenant: None for jobs without one.
        queue: what it is a line of.
        load: the tenant's.
        busy: how many of its records are with the runners.
        turn: its virtual time.
        stamp: changes whenever its place among the others does.
    """

    __slots__ = ("busy", "load", "queue", "records", "stamp", "tenant", "turn", "weight")

    def __init__(self, queue: FairQueue, tenant: bytes | None, weight: float, load: Load) -> None:
        self.queue, self.tenant, self.weight, self.load = queue, tenant, weight, load
        self.records: deque[Record] = deque()
        self.busy = 0
        self.turn = 0.0
        self.stamp = 0


class FairQueue:
    """The lines of all tenants; guarded by its owner's lock.

    Attributes:
        ready: how many records wait in it.
        busy: how many are with the runners.
    """

    def __init__(
        self,
        weight_of: Callable[[bytes | None], float],
        load_of: Callable[[bytes | None], Load] = lambda _tenant: Load(),
    ) -> None:
        self._weight_of, self._load_of = weight_of, load_of
        self._lines: dict[bytes | None, Line] = {}
        self._active: dict[bytes | None, Line] = {}
        self._heap: list[tuple[float, float, int, Line, int]] = []
        self._numbers = count()
        self._now = 0.0
        self.ready = self.busy = 0

    @property
    def active(self) -> int:
        """How many tenants have records that wait."""
        return len(self._active)

    def put(self, records: Collection[Record]) -> None:
        """Add ready records."""
        lines = self._lines
        for record in records:
            tenant = record.tenant
            line = lines.get(tenant)
            if line is None:
                line = self._make_line(tenant)
                lines = self._lines
            if not line.records:
                self._activate(line)
            load = line.load
            load.count += 1
            load.waiting += 1
            line.records.append(record)
        self.ready += len(records)

    def _make_line(self, tenant: bytes | None) -> Line:
        if len(self._lines) >= MOST_IDLE:
            self._lines = {name: line for name, line in self._lines.items() if line.records or line.busy}
        line = self._lines[tenant] = Line(self, tenant, self._weight_of(tenant), self._load_of(tenant))
        return line

    def _activate(self, line: Line) -> None:
        if len(self._active) == 1:  # alone, it was not entered anew as its records ended
            (alone,) = self._active.values()
            self._push(alone)
        if not line.busy:
            line.load = self._load_of(line.tenant)  # the owner may have forgotten the one before, which was 0
        line.turn = max(line.turn, self._now)
        self._active[line.tenant] = line
        self._push(line)

    def _push(self, line: Line) -> None:
        """Enter the line at its present place; its former entries are stale by that."""
        line.stamp += 1
        if len(self._heap) > _STALE_FACTOR * len(self._active) + _STALE_FACTOR:
            self._heap = [entry for entry in self._heap if entry[3].stamp == entry[4]]
            heapq.heapify(self._heap)
        heapq.heappush(self._heap, (line.busy / line.weight, line.turn, next(self._numbers), line, line.stamp))

    def pop(self, most: int) -> list[tuple[Record, Line]]:
        """Take the next records, for the runners."""
        taken: list[tuple[Record, Line]] = []
        active = self._active
        while most and active:
            if len(active) == 1:
                (line,) = active.values()
                number = min(most, len(line.records))
            else:
                line = self._pop_next()
                number = min(max(1, most // (TURNS * len(active))), MOST_AT_ONCE, len(line.records))
            popleft = line.records.popleft
            taken += [(popleft(), line) for _ in range(number)]
            self._charge(line, number)
            most -= number
        return taken

    def _pop_next(self) -> Line:
        while True:
            _, _, _, line, stamp = heapq.heappop(self._heap)
            if stamp == line.stamp:
                return line

    def _charge(self, line: Line, number: int) -> None:
        self._now = max(self._now, line.turn)
        line.turn += number / line.weight
        line.busy += number
        line.load.waiting -= number
        self.busy += number
        self.ready -= number
        if line.records:
            self._push(line)
        else:
            self._rest(line)

    def _rest(self, line: Line) -> None:
        line.stamp += 1
        del self._active[line.tenant]

    def end(self, line: Line, number: int = 1) -> None:
        """Note that so many records of a line are with the runners no more."""
        line.busy -= number
        line.load.count -= number
        self.busy -= number
        if len(self._active) > 1 and line.records:
            self._push(line)

    def records(self) -> list[Record]:
        """All that wait for the turn of their tenant."""
        return [record for line in self._active.values() for record in line.records]

    def drop(self, assignments: Collection[Assignment]) -> list[Record]:
        """Take out the records of partitions that are being given away."""
        dropped: list[Record] = []
        for line in list(self._active.values()):
            gone = [record for record in line.records if record.assignment in assignments]
            if gone:
                dropped += gone
                line.records = deque(record for record in line.records if record.assignment not in assignments)
                if not line.records:
                    self._rest(line)
                line.load.count -= len(gone)
                line.load.waiting -= len(gone)
        self.ready -= len(dropped)
        return dropped
