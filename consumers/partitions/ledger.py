"""The ledger: which jobs were completed lately, so that a repeated one does not run again.

One ledger for each partition number of a queue. In memory it is a window of names, bounded by count and age, which is
restored from the compacted topic `<namespace>.<queue>.ledger` when the partition is assigned. A record that moved on
(to a retry tier or the dead letters) is in the ledger as well, under a name of its own: a crash between that and the
commit of its source then publishes nothing twice. Such names have a window of their own, so that many retries do not
push completed jobs out. It keeps 64-bit hashes of them: each delayed job has such a name, and they would be long.

    <deduplication id>                          the job is completed, or discarded itself
    moved:<deduplication id>@<origin>#<n>       its attempt n failed, and attempt n+1 or a dead letter is on its topic
    moved:<deduplication id>@<topic/p/offset>   the record there moved on without a failure, or expired
"""

from __future__ import annotations

import math
import time
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from itertools import chain, islice
from threading import Lock
from typing import Final, Generic, TypeVar

from ...topology.declaration.queue import LedgerWindow
from ...topology.wire.headers import ATTEMPT
from ...topology.wire.ledger_names import MOVED, attempt_name
from ..records.record import Record

GENERATIONS: Final = 4
Clock = Callable[[], float]


def moved_name(record: Record) -> str:
    """Name the settling of one record, not of its job: the same job may pass through many records.

    The job's id is part of it, because a topic that was deleted and made again repeats its offsets.
    """
    return f"{MOVED}{record.deduplication_id or ''}@{record}"


def tried_name(record: Record) -> str:
    """Name the settling of one attempt of a job, which any twin of the record has as well.

    A crash between the retry record's confirmation and the ledger's leaves two records of the same attempt.
    """
    return attempt_name(record.deduplication_id, record.origin, record.headers.get(ATTEMPT, b"1"))


class Ledger:
    """The remembered names of one partition; all runners read and add them."""

    def __init__(self, window: LedgerWindow, clock: Clock = time.time) -> None:
        self._jobs = NameWindow[str](window, clock)
        self._moved = NameWindow[int](window, clock)
        self._passed: Sequence[int] = array("q")
        self._most_passed = window.jobs

    def add_job(self, name: str) -> None:
        """Remember a job that is completed now."""
        self._jobs.add(name)

    def add_jobs(self, names: Iterable[str]) -> None:
        """Remember jobs that are completed now."""
        self._jobs.add_all(names)

    def add(self, name: str) -> None:
        """Remember a name of either kind, settled now."""
        if name.startswith(MOVED):
            self._moved.add(hash(name))
        else:
            self._jobs.add(name)

    def add_former(self, name: str, at_s: float) -> None:
        """Remember a name of either kind, settled at the epoch time `at_s`."""
        if name.startswith(MOVED):
            self._moved.add_former(hash(name), at_s)
        else:
            self._jobs.add_former(name, at_s)

    def note_passed(self, hashes: Iterable[int]) -> None:
        """Remember, by the hashes of their names, records that had moved on and were complete before this assignment.

        They are not delivered again unless the partition begins anew, so they must not take the memory of names.

        Args:
            hashes: the latest first; as many are kept as the window has names.
        """
        self._passed = array("q", sorted(islice(chain(hashes, self._passed), self._most_passed)))

    def is_settled(self, record: Record) -> bool:
        """Whether the record's job is completed, this attempt of it has failed, or the record itself has moved on."""
        if self._jobs.holds(record.deduplication_id):
            return True
        moved = self._moved
        if not moved.is_empty and (moved.holds(hash(tried_name(record))) or moved.holds(hash(moved_name(record)))):
            return True
        return bool(self._passed) and record.assignment.is_begun_anew and self._was_passed(record)

    def has_job(self, record: Record) -> bool:
        """Whether the record's job is completed."""
        return self._jobs.holds(record.deduplication_id)

    def _was_passed(self, record: Record) -> bool:
        hashed = hash(moved_name(record))
        at = bisect_left(self._passed, hashed)
        return at < len(self._passed) and self._passed[at] == hashed

    def absorb_jobs(self, former: Ledger) -> None:
        """Take over the completed jobs of an earlier assignment in this process, whose entries may still be unwritten.

        Not what has moved on: where that was not written in time, it is left to this assignment to do again.
        """
        self._jobs.add_all(former._jobs.names())

    def absorb(self, restored: Ledger) -> None:
        """Take over what was read from the topic anew and is not here."""
        self._jobs.absorb(restored._jobs)
        self._moved.absorb(restored._moved)
        self.note_passed(restored._passed)

    @property
    def jobs(self) -> int:
        """How many completed jobs are remembered."""
        return len(self._jobs)

    def forget_old(self) -> None:
        """Forget what is older than the window's age, a generation at a time; called every second or so."""
        self._jobs.forget_old()
        self._moved.forget_old()


NameT = TypeVar("NameT", bound=str | int)


class NameWindow(Generic[NameT]):
    """Names of the recent past, or their hashes.

    The window is kept in generations: when the newest is full the oldest is forgotten, so that it holds between
    `window.jobs` and a quarter more, at the cost of a set entry for each name and nothing for each forgetting.
    """

    def __init__(self, window: LedgerWindow, clock: Clock = time.time) -> None:
        self._generation_size = max(1, window.jobs // GENERATIONS)
        self._max_age_s = window.age / timedelta(seconds=1)
        self._clock = clock
        self._lock = Lock()
        self._newest: set[NameT] = set()
        self._newest_at_s = 0.0  # infinite: now, as long as names are added as they are settled
        self._newest_began_at_s = clock()
        self._older: list[tuple[float, set[NameT]]] = []

    def holds(self, name: NameT | None) -> bool:
        """Whether a name is remembered."""
        if name in self._newest:
            return True
        for _, names in self._older:  # noqa: SIM110  # any() with a generator is three times slower on the hot path
            if name in names:
                return True
        return False

    def __contains__(self, name: NameT | None) -> bool:
        return self.holds(name)  # which is faster where it is called by itself

    @property
    def is_empty(self) -> bool:
        """Whether nothing is remembered."""
        return not self._newest and not self._older

    def __len__(self) -> int:
        return len(self._newest) + sum(len(names) for _, names in self._older)

    def names(self) -> list[NameT]:
        """All names, the oldest first."""
        with self._lock:
            generations = [*reversed([names for _, names in self._older]), self._newest]
        return [name for generation in generations for name in tuple(generation)]

    def absorb(self, other: NameWindow[NameT]) -> None:
        """Take over what is not here."""
        self.add_all([name for name in other.names() if name not in self])

    def add(self, name: NameT) -> None:
        """Remember a name of this moment."""
        self.add_all((name,))

    def add_all(self, names: Iterable[NameT]) -> None:
        """Remember names of this moment."""
        for name in names:
            newest = self._newest
            newest.add(name)
            self._newest_at_s = math.inf
            if len(newest) >= self._generation_size:
                self._rotate()

    def add_former(self, name: NameT, at_s: float) -> None:
        """Remember a name of the epoch time `at_s`; too old ones are passed over."""
        if self._clock() - at_s > self._max_age_s:
            return
        self._newest.add(name)
        self._newest_at_s = max(self._newest_at_s, at_s)
        if len(self._newest) >= self._generation_size:
            self._rotate()

    def _rotate(self) -> None:
        with self._lock:
            if len(self._newest) >= self._generation_size:
                self._begin_generation(self._clock())

    def _begin_generation(self, now_s: float) -> None:
        self._older = [(min(self._newest_at_s, now_s), self._newest), *self._older[: GENERATIONS - 1]]
        self._newest = set()
        self._newest_at_s = 0.0
        self._newest_began_at_s = now_s

    def forget_old(self) -> None:
        """Forget what is older than the window's age, a generation at a time."""
        now_s = self._clock()
        with self._lock:
            if self._newest and now_s - self._newest_began_at_s >= self._max_age_s / GENERATIONS:
                self._begin_generation(now_s)
            self._older = [(at_s, names) for at_s, names in self._older if now_s - at_s < self._max_age_s]
