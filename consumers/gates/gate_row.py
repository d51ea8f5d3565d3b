"""`GateRow`: asks the gates of one queue for each ready record, and holds the records that wait."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import count
from threading import Lock

from ..records.assignment import Assignment
from ..records.record import Record
from .gate import Gate, Wait, Why

Receive = Callable[[list[Record]], None]
Listen = Callable[[Why], None]


class GateRow:
    """Stands between lanes and runners. Falsy where no gate is to be asked; it may hold records all the same.

    A record waits here also when a step has sent it back (`hold`). Safe to call from all threads.

    Attributes:
        asked: the gates that do not rest: those to be asked.
        count: how many records wait here.
    """

    def __init__(self, gates: Sequence[Gate] = (), *, clock: Callable[[], float] = time.time) -> None:
        self._gates = tuple(gates)
        self._clock = clock
        self._lock = Lock()
        self._held: dict[Why, dict[Record, Wait]] = {}
        self._timed: list[tuple[float, int, Record, Wait]] = []
        self._numbers = count()
        self._openings = 0
        self._is_stopping = False
        self._receive: Receive = lambda _records: None
        self._listeners: list[Listen] = []
        self.asked: tuple[Gate, ...] = ()
        self.count = 0
        self.note_resting()

    def __bool__(self) -> bool:
        return bool(self.asked)

    def add(self, gates: Iterable[Gate]) -> None:
        """Add gates behind those that are here; before `start`."""
        self._gates += tuple(gates)
        self.note_resting()

    def note_resting(self) -> None:
        """Note that a gate rests, or rests no more."""
        with self._lock:
            self.asked = tuple(gate for gate in self._gates if not gate.is_resting)

    def start(self, receive: Receive) -> None:
        """Start the gates; `receive` makes records ready, and so asks the gates again."""
        self._receive = receive
        for gate in self._gates:
            gate.start()

    def listen(self, listener: Listen) -> None:
        """Have `listener` called after each record that begins to wait."""
        self._listeners.append(listener)

    def admit(self, records: list[Record]) -> list[Record]:
        """Those of these ready records that may start; the others wait here."""
        return [record for record in records if self.admits(record)]

    def admits(self, record: Record) -> bool:
        """Whether this record may start; if not, it waits here.

        True also where its partition is given away: the next step ends it.
        """
        while True:
            openings = self._openings
            wait = self._ask(record)
            if wait is None:
                return True
            with self._lock:
                if openings == self._openings:  # else what it waits for may have opened meanwhile
                    return not self._add(record, wait)

    def _ask(self, record: Record) -> Wait | None:
        now_s = self._clock()
        for gate in self.asked:
            answer = gate.may_start(record, now_s)
            if isinstance(answer, Wait):
                return answer
        return None

    def hold(self, record: Record, wait: Wait) -> bool:
        """Keep a record that a step has sent back; False where its partition is given away."""
        with self._lock:
            is_held = self._add(record, wait)
        if is_held:
            for listener in self._listeners:
                listener(wait.why)
        return is_held

    def _add(self, record: Record, wait: Wait) -> bool:
        if self._is_stopping or not record.assignment.is_current:
            return False
        self._held.setdefault(wait.why, {})[record] = wait
        self.count += 1
        if wait.until_at_s is not None:
            heapq.heappush(self._timed, (wait.until_at_s, next(self._numbers), record, wait))
        return True

    # ---- the end of a wait

    def release(self, why: Why) -> None:
        """Make ready what waits for this reason."""
        self._make_ready(self.take([why], is_opening=True))

    def take(self, whys: Iterable[Why], *, is_opening: bool = False) -> list[Record]:
        """Take out what waits for these reasons."""
        with self._lock:
            self._openings += is_opening
            taken = [record for why in whys for record in self._held.pop(why, ())]
            self.count -= len(taken)
        return taken

    @property
    def next_at_s(self) -> float | None:
        """The epoch time at which `ask_again` has something to do; None while nothing waits for a time."""
        return self._timed[0][0] if self._timed else None

    def ask_again(self) -> None:
        """Make ready what has waited for its time; called by the poll thread in each turn."""
        if self._timed and self._timed[0][0] <= self._clock():
            self._make_ready(self._due())

    def _due(self) -> list[Record]:
        due: list[Record] = []
        with self._lock:
            while self._timed and self._timed[0][0] <= self._clock():
                _, _, record, wait = heapq.heappop(self._timed)
                if self._held.get(wait.why, {}).get(record) is wait:  # else it was released before
                    self._remove(record, wait.why)
                    due.append(record)
        return due

    def _remove(self, record: Record, why: Why) -> None:
        of_reason = self._held[why]
        del of_reason[record]
        self.count -= 1
        if not of_reason:
            del self._held[why]

    def _make_ready(self, records: list[Record]) -> None:
        if records:
            self._receive(records)

    def drop(self, assignments: Collection[Assignment]) -> list[Record]:
        """Take out the records of partitions that are being given away."""
        with self._lock:
            gone = [
                (record, why) for why, held in self._held.items() for record in held if record.assignment in assignments
            ]
            for record, why in gone:
                self._remove(record, why)
            self._timed = [timed for timed in self._timed if timed[2].assignment not in assignments]
            heapq.heapify(self._timed)
        return [record for record, _ in gone]

    def stop(self) -> None:
        """Stop the gates, and hold nothing more; what waits is delivered again."""
        for gate in self._gates:
            gate.stop()
        with self._lock:
            self._is_stopping = True
            self._held.clear()
            self._timed.clear()
            self.count = 0

    # ---- for people

    def whys(self) -> list[Why]:
        """All reasons for which records wait here."""
        with self._lock:
            return list(self._held)

    def waiting(self) -> dict[Record, Wait]:
        """All records that wait here: until when, and why."""
        with self._lock:
            return {record: wait for held in self._held.values() for record, wait in held.items()}

    def counts(self) -> dict[Why, int]:
        """{reason: how many records wait for it}."""
        with self._lock:
            return {why: len(held) for why, held in self._held.items()}

    def count_of(self, kind: type[Why]) -> int:
        """How many records wait for reasons of one kind."""
        with self._lock:
            return sum(len(held) for why, held in self._held.items() if isinstance(why, kind))
