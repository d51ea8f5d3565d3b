"""`WaitSet`: holds the records that a gate or a step has sent to wait, until their reason or their time is over."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from ..progress.assignment import Assignment
from ..records.record import Record
from .gate import Wait, Why
from .waiting import Waiting

Receive = Callable[[list[Record]], None]


class WaitSet:
    """The records of one queue that wait in memory. Safe to call from all threads.

    A released record asks the gates again. The release of a reason also releases the lanes that wait for it aside.

    Attributes:
        releases: how many there were so far: see `add_held_back`.
    """

    def __init__(self, waiting: Waiting, is_cancelled: Callable[[Record], bool]) -> None:
        self._lock, self._records, self._lanes = waiting.lock, waiting.records, waiting.lanes
        self._waiting = waiting
        self._is_cancelled = is_cancelled
        self._receive: Receive = lambda _records: None
        self.releases = 0

    def start(self, receive: Receive) -> None:
        """Begin to release; `receive` makes records ready."""
        self._receive = receive

    def stop(self) -> None:
        """Drop the waiting records, which are delivered again, and take no more."""
        with self._lock:
            self._waiting.stop()

    # ---- records that come

    def add_held_back(self, record: Record, wait: Wait, releases: int) -> bool | None:
        """Add a record that a gate holds back; False where its partition is given away.

        Args:
            releases: as it was before the gate was asked. If it has grown since then, this returns None: the gate may
                let the record pass by now, and the caller asks the gates again.
        """
        with self._lock:
            if releases != self.releases:
                return None
            is_kept = self._waiting.add(record, wait)
            if is_kept:
                self._waiting.leaving.note_added(record, wait)
        return is_kept

    def add_sent_back(self, record: Record, wait: Wait) -> bool:
        """Add a record that a step has sent back; False where its partition is given away."""
        with self._lock:
            is_kept = self._waiting.add(record, wait)
            if is_kept:
                self._records.sent_back.add(record)
        return is_kept

    # ---- the end of a wait

    def release(self, why: Why) -> None:
        """Make the records ready that wait for this reason."""
        with self._lock:  # at once: a record that is put aside in between would stay there
            self.releases += 1
            self._lanes.release(why)
            released = self._records.pop([why])
        self.make_ready(released)

    def release_first(self, why: Why) -> None:
        """Make the first record ready that waits for this reason; if none is in memory, release the lanes aside.

        One that another gate holds back as well waits for that from now on, and the next one is made ready.
        """
        is_held_by_another = True
        while is_held_by_another:
            with self._lock:
                self.releases += 1
                first = self._records.take_first(why)
                if first is None:
                    self._lanes.release(why)
                    return
            self.make_ready([first])
            with self._lock:
                is_held_by_another = self._records.waits_for_another(first, why)

    def release_cancelled(self) -> None:
        """Make the records in memory ready whose jobs are cancelled."""
        with self._lock:
            self.releases += 1
            released = self._records.take_all(self._is_cancelled)
        self.make_ready(released)

    def release_all_aside(self) -> None:
        """Release all lanes aside: their records are read, and ask the gates again.

        For records that have an order, call it after `release_cancelled`: what goes aside in between has none.
        """
        with self._lock:
            for why in self._lanes.counts():
                self._lanes.release(why)

    @property
    def next_at_s(self) -> float | None:
        """The epoch time at which `release_due` has something to do; None while nothing waits for a time."""
        return min(filter(None, (self._records.next_at_s, self._lanes.next_at_s)), default=None)

    def release_due(self, now_s: float) -> None:
        """Make the records ready whose time has come at the epoch time `now_s`."""
        if self._lanes.next_at_s is not None:
            with self._lock:
                self._lanes.release_due(now_s)
        if self._records.has_due(now_s):
            with self._lock:
                due = self._records.take_due(now_s)
            self.make_ready(due)

    # ---- in two steps: take records out, then make them ready

    def pop(self, whys: Iterable[Why]) -> list[Record]:
        """Take out the records in memory that wait for these reasons."""
        with self._lock:
            return self._records.pop(whys)

    def take_while(self, why: Why, fits: Callable[[Record], bool]) -> list[Record]:
        """Take out the first ones that wait for this reason in memory, up to one that does not fit.

        A record that begins to wait meanwhile asks the gates again, as after `release`.
        """
        with self._lock:
            self.releases += 1
            return self._records.take_while(why, fits)

    def make_ready(self, records: list[Record]) -> None:
        """Make records ready that were taken out."""
        if records:
            self._receive(records)

    def drop(self, assignments: Collection[Assignment]) -> list[Record]:
        """Take out the records of partitions that are being given away."""
        with self._lock:
            return self._records.drop(assignments)
