"""The ledger: which jobs were completed lately, so that a repeated one does not run again.

One ledger for each partition number of a queue. In memory it is a window of names, bounded by count and age; on the
compacted topic `<namespace>.<queue>.ledger` each name is a record, and the window is restored from there when the
partition is assigned. A record that moved on (to a retry tier or the dead letters) is in the ledger as well, under a
name of its own: a crash between that and the commit of its source then publishes nothing twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from threading import Lock

from ..topology.queue import LedgerWindow
from .record import Record

GENERATIONS = 4
MOVED = "moved:"
Clock = Callable[[], float]


def moved_name(record: Record) -> str:
    """Name the settling of one record, not of its job: the same job may pass through many records.

    The job's id is part of it, because a topic that was deleted and made again repeats its offsets.
    """
    return f"{MOVED}{record.claim_id or ''}@{record}"


class Ledger:
    """The remembered names of one partition; asked and told by all runners.

    The window is kept in generations: when the newest is full the oldest is forgotten, so that it holds between
    `window.jobs` and a quarter more, at the cost of a set entry for each name and nothing for each forgetting.
    """

    def __init__(self, window: LedgerWindow, clock: Clock = time.time) -> None:
        self._generation_size = max(1, window.jobs // GENERATIONS)
        self._max_age_s = window.age / timedelta(seconds=1)
        self._clock = clock
        self._lock = Lock()
        self._newest: set[str] = set()
        self._newest_at_s = 0.0
        self._newest_began_s = clock()
        self._older: list[tuple[float, set[str]]] = []
        self._has_moved = False

    def __contains__(self, name: str | None) -> bool:
        if name in self._newest:
            return True
        for _, names in self._older:  # noqa: SIM110  # any() with a generator is three times slower on the hot path
            if name in names:
                return True
        return False

    def is_settled(self, record: Record) -> bool:
        """Whether the record's job is completed, or the record itself has moved on."""
        return record.claim_id in self or (self._has_moved and moved_name(record) in self)

    def __len__(self) -> int:
        return len(self._newest) + sum(len(names) for _, names in self._older)

    def add(self, name: str, at_s: float | None = None) -> None:
        """Remember a name, completed at the epoch time `at_s` (now unless given); too old ones are passed over."""
        now_s = self._clock()
        completed_s = now_s if at_s is None else at_s
        if now_s - completed_s > self._max_age_s:
            return
        self._newest.add(name)
        if name.startswith(MOVED):
            self._has_moved = True  # seen only when restored: within one assignment no record comes twice
        self._newest_at_s = max(self._newest_at_s, completed_s)
        if len(self._newest) >= self._generation_size:
            self._rotate(now_s)

    def _rotate(self, now_s: float) -> None:
        with self._lock:
            if len(self._newest) >= self._generation_size:
                self._begin_generation(now_s)

    def _begin_generation(self, now_s: float) -> None:
        self._older = [(self._newest_at_s, self._newest), *self._older[: GENERATIONS - 1]]
        self._newest = set()
        self._newest_began_s = now_s

    def forget_old(self) -> None:
        """Forget what is older than the window's age, a generation at a time; called every second or so."""
        now_s = self._clock()
        with self._lock:
            if self._newest and now_s - self._newest_began_s >= self._max_age_s / GENERATIONS:
                self._begin_generation(now_s)
            self._older = [(at_s, names) for at_s, names in self._older if now_s - at_s < self._max_age_s]
