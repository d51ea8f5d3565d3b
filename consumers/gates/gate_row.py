"""`GateRow`: asks the gates of one queue for each ready record, and holds the records that wait."""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Collection, Iterable, Sequence
from threading import Lock
from typing import Final

from ..backlog.lane_backlog import hash_of
from ..records.assignment import Assignment, Place
from ..records.record import Record
from .gate import Gate, Wait, Why
from .lanes_aside import LanesAside
from .leaving_records import LeavingRecords
from .taken_records import Beginning, TakenRecords
from .waiting_records import WaitingRecords

Receive = Callable[[list[Record]], None]
Listen = Callable[[Why], None]


class GateRow:
    """Stands between lanes and runners. Falsy where no gate is to be asked; it may hold records all the same.

    A record waits here also when a step has sent it back (`hold`). Safe to call from all threads.

    In memory it holds records up to a bound. Beyond it, the poll thread moves those that a gate holds back aside, each
    with its whole lane (`set_aside`); here remains the lane's hash. When its reason is released, or its time comes, the
    poll thread takes the lane back (`take_opened`), and its first record asks the gates again.

    Attributes:
        asked: the gates that do not rest: those to be asked.
        taking: those that `begin` asks: also those with hooks that rest.
        taken: the records that `begin` has let go, where gates have hooks.
        crashed: why a gate cannot go on; None while all can.
    """

    def __init__(
        self,
        gates: Sequence[Gate] = (),
        *,
        clock: Callable[[], float] = time.time,
        is_cancelled: Callable[[Record], bool] = lambda _record: False,
    ) -> None:
        """Begin without records.

        Args:
            is_cancelled: whether the job of a record ends without running, so that no gate is to hold it back.
        """
        self._gates = tuple(gates)
        self._is_cancelled = is_cancelled
        self._clock = clock
        self._lock = Lock()
        self._waiting = WaitingRecords()
        self._leaving = LeavingRecords(self._waiting)
        self._aside = LanesAside()
        self._openings = 0
        self._is_stopping = False
        self._receive: Receive = lambda _records: None
        self._listeners: list[Listen] = []
        self.asked: tuple[Gate, ...] = ()
        self.taking: tuple[Gate, ...] = ()
        self.taken = self._make_taken()
        self.crashed: BaseException | None = None
        self.note_resting()

    def __bool__(self) -> bool:
        return bool(self.asked)

    def add(self, gates: Iterable[Gate]) -> None:
        """Add gates behind those that are here; before `start`."""
        self._gates += tuple(gates)
        self.taken = self._make_taken()
        self.note_resting()

    def _make_taken(self) -> TakenRecords:
        return TakenRecords(gate for gate in self._gates if gate.has_hooks)

    def note_crash(self, error: BaseException) -> None:
        """Note that a gate cannot go on: the worker stops."""
        self.crashed = error

    def note_resting(self) -> None:
        """Note that a gate rests, or rests no more."""
        with self._lock:
            self.asked = asked = tuple(gate for gate in self._gates if not gate.is_resting)
            self.taking = tuple(gate for gate in self._gates if gate in asked or gate.has_hooks)

    def bound(self, records: int, size_bytes: int) -> None:
        """Hold no more than this in memory, but for records without lane and those that steps have sent back."""
        self._leaving.bound(records, size_bytes)

    def start(self, receive: Receive) -> None:
        """Start the gates; `receive` makes records ready, and so asks the gates again."""
        self._receive = receive
        for gate in self._gates:
            gate.start()

    def listen(self, listener: Listen) -> None:
        """Have `listener` called after each record that begins to wait."""
        self._listeners.append(listener)

    def admit(self, records: list[Record]) -> list[Record]:
        """Return the ready records that may start; the others wait here."""
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
                    return not self._add_bounded(record, wait)

    def begin(self, record: Record) -> Beginning:
        """Ask the gates for the last time: the handler of this record is called next. All of them count it, or none.

        One that waits, waits here.
        """
        while True:
            openings = self._openings
            wait = self.taken.take(record, self.taking, self._clock())
            if wait is None:
                return Beginning.BEGINS
            if self._is_cancelled(record):
                return Beginning.ENDS
            with self._lock:
                if openings == self._openings:  # as above
                    return Beginning.WAITS if self._add_bounded(record, wait) else Beginning.ENDS

    def _add_bounded(self, record: Record, wait: Wait) -> bool:
        is_held = self._add(record, wait)
        if is_held:
            self._leaving.note_added(record, wait)
        return is_held

    def _ask(self, record: Record) -> Wait | None:
        now_s = self._clock()
        for gate in self.asked:
            answer = gate.may_start(record, now_s)
            if isinstance(answer, Wait):
                return None if self._is_cancelled(record) else answer
        return None

    def hold(self, record: Record, wait: Wait) -> bool:
        """Keep a record that a step has sent back; False where its partition is given away."""
        with self._lock:
            is_held = self._add(record, wait)
            if is_held:
                self._waiting.sent_back.add(record)
        if is_held:
            for listener in self._listeners:
                listener(wait.why)
        return is_held

    def _add(self, record: Record, wait: Wait) -> bool:
        if self._is_stopping or not record.assignment.is_current:
            return False
        self._waiting.add(record, wait)
        return True

    # ---- what waits aside

    def set_aside(self, may_leave: Callable[[Record], bool]) -> list[Record]:
        """Take out what is due to leave, or waits beyond the bound, and keep the hash of its lane.

        What may not leave yet stays.
        """
        if not self._leaving:
            return []
        with self._lock:
            left = self._leaving.take(may_leave)
            for _, lane, wait in left:
                self._aside.add(wait.why, wait.until_at_s, hash_of(lane))
        return [record for record, _, _ in left]

    def note_leaving(self, is_due: Callable[[Record], bool]) -> None:
        """Have those of the records that gates hold back leave with the next `set_aside`, whatever the bound.

        What a step has sent back stays: that step, or a thread of its own, releases it from the memory. So does what
        has no lane. A copy may take the place of these: `exchange`.
        """
        with self._lock:
            self._leaving.note_due(is_due)

    def keeps(self, place: Place) -> bool:
        """Whether a record stays here in memory, by the last `note_leaving`."""
        return self._leaving.keeps(place)

    def exchange(self, place: Place, copy: Record, take_over: Callable[[Record], None]) -> Record | None:
        """Let a copy wait in the place of a record that stays here; None where that has gone on.

        Args:
            take_over: called with the record that leaves, before anybody can release the copy.
        """
        with self._lock:
            staying = self._leaving.take_staying(place)
            if staying is None:
                return None
            record, wait = staying
            was_sent_back = record in self._waiting.sent_back
            if not self._add(copy, wait):
                return None
            if was_sent_back:
                self._waiting.sent_back.add(copy)
            self._waiting.remove(record, wait.why)
            take_over(record)
        return record

    def take_back(self, lane_hashes: Iterable[int]) -> None:
        """Have lanes taken back whose records are aside, as if they had waited here."""
        with self._lock:
            self._aside.add_opened(array("q", lane_hashes))

    @property
    def has_opened(self) -> bool:
        """Whether lanes that waited aside are to be taken back."""
        return self._aside.has_opened

    def take_opened(self, limit: int) -> list[int]:
        """Take the hashes of lanes that waited aside and wait no more, the first ones first."""
        with self._lock:
            return self._aside.take(limit)

    @property
    def lanes_aside(self) -> int:
        """How many lanes wait aside, or are to be taken back."""
        return len(self._aside)

    def why_of(self, lane_hash: int) -> Wait | None:
        """Why a lane waits aside; None where it does not. It looks at all of them."""
        with self._lock:
            found = self._aside.why_of(lane_hash)
        return None if found is None else Wait(until_at_s=found[1], why=found[0])

    def forget_lanes(self, is_gone: Callable[[int], bool]) -> None:
        """Forget the lanes aside of which nothing is ours any more."""
        with self._lock:
            self._aside.discard(is_gone)

    # ---- the end of a wait

    def release(self, why: Why) -> None:
        """Make ready what waits for this reason."""
        with self._lock:  # at once: a record that is put aside in between would stay there
            self._openings += 1
            self._aside.open(why)
            released = self._waiting.take([why])
        self._make_ready(released)

    def release_first(self, why: Why) -> None:
        """Make ready the first record that waits for this reason; where none is in memory, what waits aside."""
        with self._lock:
            self._openings += 1
            first = self._waiting.take_first(why)
            if first is None:
                self._aside.open(why)
        self._make_ready([] if first is None else [first])

    def release_cancelled(self, *, aside_too: bool) -> None:
        """Make ready what waits and is cancelled by now.

        Args:
            aside_too: whether all that waits aside is to be read again for that, and ask the gates once more.
        """
        with self._lock:
            self._openings += 1
            for why in self._aside.counts() if aside_too else ():
                self._aside.open(why)
            released = self._waiting.take_all(self._is_cancelled)
        self._make_ready(released)

    def take(self, whys: Iterable[Why]) -> list[Record]:
        """Take out what waits for these reasons in memory."""
        with self._lock:
            return self._waiting.take(whys)

    def take_while(self, why: Why, fits: Callable[[Record], bool]) -> list[Record]:
        """Take out the first ones that wait for this reason in memory, up to one that does not fit.

        A record that begins to wait meanwhile asks the gates again, as after `release`.
        """
        with self._lock:
            self._openings += 1
            return self._waiting.take_while(why, fits)

    def open_aside(self, why: Why, limit: int) -> int:
        """Have some of the lanes taken back that wait for this reason aside; returns how many."""
        with self._lock:
            return self._aside.open_some(why, limit)

    def make_ready(self, records: list[Record]) -> None:
        """Make records ready that `take_while` has taken out."""
        self._make_ready(records)

    def count_waiting(self, why: Why) -> int:
        """How many records, and lanes aside, wait for this reason."""
        with self._lock:
            return self._waiting.count_of(why) + self._aside.count_of(why)

    def close(self, record: Record, until_at_s: float) -> None:
        """Let no job begin until this epoch time that gates count together with this one."""
        for gate in self._gates:
            gate.close(record, until_at_s)

    def begin_assignment(self, assignment: Assignment) -> None:
        """Note that a partition is this worker's from now on."""
        for gate in self.taken.hooked:
            gate.begin_assignment(assignment)

    @property
    def next_at_s(self) -> float | None:
        """The epoch time at which `ask_again` has something to do; None while nothing waits for a time."""
        return min(filter(None, (self._waiting.next_at_s, self._aside.next_at_s, self._opens_at_s)), default=None)

    @property
    def _opens_at_s(self) -> float | None:
        """The epoch time at which a gate with hooks has something to release."""
        opens_in_s = [gate.opens_in_s for gate in self.taken.hooked]
        known = [in_s for in_s in opens_in_s if in_s is not None]
        return self._clock() + min(known) if known else None

    def ask_again(self) -> None:
        """Make ready what has waited for its time; called by the poll thread in each turn."""
        for gate in self.taken.hooked:
            gate.turn()
        if self._aside.next_at_s is not None:
            with self._lock:
                self._aside.open_due(self._clock())
        if self._waiting.has_due(self._clock()):
            with self._lock:
                due = self._waiting.take_due(self._clock())
            self._make_ready(due)

    def _make_ready(self, records: list[Record]) -> None:
        if records:
            self._receive(records)

    def drop(self, assignments: Collection[Assignment]) -> list[Record]:
        """Take out the records of partitions that are being given away."""
        with self._lock:
            return self._waiting.drop(assignments)

    def stop(self) -> None:
        """Stop the gates, and hold nothing more; what waits is delivered again."""
        for gate in self._gates:
            gate.stop()
        with self._lock:
            self._is_stopping = True
            self._waiting.clear()
            self._leaving.clear()
            self._aside.clear()

    # ---- for people

    @property
    def count(self) -> int:
        """How many records wait here in memory."""
        return self._waiting.count

    def whys(self) -> list[Why]:
        """All reasons for which records wait here."""
        with self._lock:
            return self._waiting.whys()

    def waiting(self) -> dict[Record, Wait]:
        """All records that wait here in memory: until when, and why."""
        with self._lock:
            return self._waiting.all()

    def counts(self) -> dict[Why, int]:
        """{reason: how many records wait for it}; of a lane aside, its first one."""
        with self._lock:
            counts = self._aside.counts()
            for why in self._waiting.whys():
                counts[why] = counts.get(why, 0) + self._waiting.count_of(why)
        return counts

    def count_of(self, kind: type[Why]) -> int:
        """How many records wait for reasons of one kind."""
        with self._lock:
            return sum(self._waiting.count_of(why) for why in self._waiting.whys() if isinstance(why, kind))


NO_GATES: Final = GateRow()
"""Where nothing holds a record back."""
