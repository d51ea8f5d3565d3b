"""`NameWindow`: names of the recent past, bounded by count and age, as hashes of 64 bits.

The window is kept in generations. A new one begins when the newest is full, or spans a quarter of the window's age. The
oldest is forgotten when the others hold `window.jobs` names, or when all of it is older than the age: so no name is
forgotten before so many have followed it, or so much time has passed, whichever comes first. The window holds a quarter
more than `window.jobs` where names come evenly, and half more at the most, beside those that it took over from another
window. The newest generation is a set. Each older one is a sorted array, 8 bytes a name. A map of marks shows in one
step of nearly every other name that it is in none of them.

Two names of one hash count as one. In a window of 62,500 that happens to one name in 300 million million.
"""

from __future__ import annotations

import math
import time
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable
from datetime import timedelta
from itertools import islice
from threading import Lock
from typing import Final, NamedTuple

from ...topology.declaration.queue import LedgerWindow

PARTS: Final = 4
"""A generation has so large a part of the window's names and age."""
MOST_OLDER: Final = 8
"""Older generations, since each has a bit in the map of marks, which are bytes. More are joined."""
SLOTS_A_NAME: Final = 8
"""In the map of marks, a byte each: a name that is in no generation meets the mark of one in forty times."""
Clock = Callable[[], float]


class _Generation(NamedTuple):
    """Names that are as old as each other.

    Attributes:
        last_at_s: when the youngest of them was settled.
        counted: for how many names they count that have followed older ones.
        mark: the bit of this generation in the map of marks.
        hashes: of the names, ascending.
    """

    last_at_s: float
    counted: int
    mark: int
    hashes: array[int]


class _Past(NamedTuple):
    """The older generations, and the map of marks; replaced together, since readers take no lock.

    Attributes:
        marks: a byte for each slot, with the marks of the generations that have a name there. Marks are added in place
            before their generation is there, and are removed from a copy.
        generations: the latest first.
    """

    marks: bytearray
    generations: list[_Generation]


def _without(marks: bytearray, gone: int) -> bytearray:
    return marks.translate(bytes(byte & ~gone for byte in range(256)))


def _is_in(generations: Iterable[_Generation], hashed: int, marks: int) -> bool:
    """Whether a hash is in one of the generations that have these marks."""
    for _, _, mark, hashes in generations:
        if mark & marks:
            at = bisect_left(hashes, hashed)
            if at < len(hashes) and hashes[at] == hashed:
                return True
    return False


class NameWindow:
    """Remembers names; safe to call from all threads.

    `is_empty` is whether nothing is remembered.

    >>> window = NameWindow(LedgerWindow(jobs=100))
    >>> window.add_all(["a", "b"]); "a" in window, "c" in window, len(window)
    (True, False, 2)
    """

    def __init__(self, window: LedgerWindow, clock: Clock = time.time) -> None:
        self._most_jobs, self._generation_size = window.jobs, -(-window.jobs // PARTS)
        self._last_slot = (1 << (SLOTS_A_NAME * window.jobs).bit_length()) - 1
        self._max_age_s = window.age / timedelta(seconds=1)
        self._clock = clock
        self._lock = Lock()
        self._newest: set[int] = set()
        self._newest_at_s = 0.0  # infinite: now, as long as names are added as they are settled
        self._newest_began_at_s = clock()
        self._past = _Past(bytearray(), [])
        self.is_empty = True  # no property, since each job asks

    def holds(self, name: str | None) -> bool:
        """Whether a name is remembered."""
        hashed = hash(name)
        if hashed in self._newest:  # first, since `_begin_generation` empties it last
            return True
        all_marks, older = self._past
        marks = all_marks[hashed & self._last_slot] if older else 0
        return marks != 0 and _is_in(older, hashed, marks)

    def __contains__(self, name: str | None) -> bool:
        return self.holds(name)  # which is faster where it is called by itself

    @property
    def _older(self) -> list[_Generation]:
        return self._past.generations

    def __len__(self) -> int:
        return len(self._newest) + sum(len(generation.hashes) for generation in self._older)

    # ---- names come

    def add(self, name: str) -> None:
        """Remember a name of this moment."""
        self._add([hash(name)], math.inf)

    def add_all(self, names: Iterable[str]) -> None:
        """Remember names of this moment."""
        self._add(list(map(hash, names)), math.inf)

    def add_former(self, name: str, at_s: float) -> None:
        """Remember a name of the epoch time `at_s`; too old ones are passed over."""
        self.add_all_former((name,), at_s)

    def add_all_former(self, names: Iterable[str], at_s: float) -> None:
        """Do so for several of one time."""
        if self._clock() - at_s <= self._max_age_s:
            self._add(list(map(hash, names)), at_s)

    def absorb(self, other: NameWindow) -> None:
        """Take over what is not here, as of this moment: the latest names, as many as the window's number.

        Most of them are older than what is here, so nothing here is forgotten for them.
        """
        with other._lock:
            theirs = [*other._newest, *(hashed for generation in other._older for hashed in generation.hashes)]
        with self._lock:
            known = self._newest.union(*(generation.hashes for generation in self._older))
            hashes = set(islice((hashed for hashed in theirs if hashed not in known), self._most_jobs))
            if hashes:
                if self._newest:  # else its older names would count as followers of these
                    self._begin_generation(self._clock())
                self._keep_generation(hashes, self._clock(), counted=0)
                self.is_empty = False

    def _add(self, hashes: list[int], at_s: float) -> None:
        with self._lock:
            while hashes:
                room = self._generation_size - len(self._newest)
                self.is_empty = False
                self._newest.update(hashes if len(hashes) <= room else hashes[:room])
                self._newest_at_s = max(self._newest_at_s, at_s)
                if len(self._newest) >= self._generation_size:
                    self._begin_generation(self._clock())
                hashes = hashes[room:]

    # ---- generations, the lock held

    def _begin_generation(self, now_s: float) -> None:
        self._forget_older_than(now_s)
        self._keep_generation(self._newest, min(self._newest_at_s, now_s), counted=len(self._newest))
        self._newest = set()
        self._newest_at_s = 0.0
        self._newest_began_at_s = now_s
        while sum(generation.counted for generation in self._older[:-1]) >= self._most_jobs:
            self._keep_older(self._older[:-1])

    def _keep_generation(self, hashes: set[int], last_at_s: float, *, counted: int) -> None:
        if len(self._older) == MOST_OLDER:
            self._join_oldest()
        mark = next(1 << bit for bit in range(MOST_OLDER) if all(1 << bit != older.mark for older in self._older))
        marks = self._past.marks or bytearray(self._last_slot + 1)
        self._mark(marks, hashes, mark)
        kept = _Generation(last_at_s, counted, mark, array("q", sorted(hashes)))
        self._past = _Past(marks, [kept, *self._older])

    def _mark(self, marks: bytearray, hashes: Iterable[int], mark: int) -> None:
        last_slot = self._last_slot
        for hashed in hashes:
            marks[hashed & last_slot] |= mark

    def _join_oldest(self) -> None:
        """Make one generation of the two oldest, with the mark of the later one."""
        *others, later, oldest = self._older
        marks = _without(self._past.marks, oldest.mark)
        self._mark(marks, oldest.hashes, later.mark)
        joined = _Generation(
            max(later.last_at_s, oldest.last_at_s),
            later.counted + oldest.counted,
            later.mark,
            array("q", sorted(later.hashes + oldest.hashes)),
        )
        self._past = _Past(marks, [*others, joined])

    def _keep_older(self, kept: list[_Generation]) -> None:
        """Forget all older generations but these."""
        if len(kept) < len(self._older):
            gone = sum(generation.mark for generation in self._older) - sum(generation.mark for generation in kept)
            self._past = _Past(_without(self._past.marks, gone) if kept else bytearray(), kept)

    def _forget_older_than(self, now_s: float) -> None:
        self._keep_older([older for older in self._older if now_s - older.last_at_s < self._max_age_s])

    def forget_old(self) -> None:
        """Forget what is older than the window's age, a generation at a time; called every second or so."""
        now_s = self._clock()
        with self._lock:
            if self._newest and now_s - self._newest_began_at_s >= self._max_age_s / PARTS:
                self._begin_generation(now_s)
            self._forget_older_than(now_s)
            self.is_empty = not self._newest and not self._older
