"""Lanes of a queue with `ordering="strict"`: later jobs of a key wait also while an earlier one waits in a retry tier.

A lane is in one of three states. Something of it is *in hand* (ready, running, or ended and not yet settled); or it is
*suspended*, because records of its key are awaited from the tiers; or it has nothing to do, and is forgotten. What
comes from a tier goes ahead of what is parked from the main topic.

Which records are awaited is known from two sources: those that this worker moved to a tier, and those that were found
there when the partition was assigned (`awaited.py`).
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterable, Mapping
from datetime import timedelta
from threading import Lock

from .awaited import awaited_after, awaited_as
from .lanes import MakeReady
from .outcomes import DONE, SKIPPED, Outcome
from .record import Assignment, Awaited, Lane, Record


class _Lane:
    __slots__ = ("ahead", "awaited", "behind", "in_hand")

    def __init__(self) -> None:
        self.in_hand: Record | None = None
        self.ahead: deque[Record] = deque()
        self.behind: deque[Record] = deque()
        self.awaited: Counter[Awaited] = Counter()

    @property
    def is_idle(self) -> bool:
        """Whether nothing is left of it."""
        return self.in_hand is None and not self.ahead and not self.behind and not self.awaited

    def arrive(self, record: Record) -> None:
        """Take a record in: of a tier ahead of the others, and awaited no more."""
        if record.assignment.tier is None:
            self.behind.append(record)
            return
        self.ahead.append(record)
        awaited = awaited_as(record)
        self.awaited[awaited] -= 1
        if self.awaited[awaited] <= 0:
            del self.awaited[awaited]

    def advance(self) -> Record | None:
        """The record that may start now, if any; it is in hand from now on."""
        if self.in_hand is None:
            if self.ahead:
                self.in_hand = self.ahead.popleft()
                return self.in_hand
            if self.behind and not self.awaited:
                self.in_hand = self.behind.popleft()
                return self.in_hand
        return None


class StrictLanes:
    """Decides which records may run now, as `Lanes` does for other queues; safe to call from all threads.

    `parked` counts the records that wait behind others of their key.
    """

    def __init__(self, make_ready: MakeReady) -> None:
        self._make_ready = make_ready
        self._lock = Lock()
        self._lanes: dict[Lane, _Lane] = {}
        self.parked = 0

    def begin(self, awaited: Mapping[Lane, Collection[Awaited]]) -> None:
        """Await what a tier of a partition holds; called before anything of the partition is added."""
        with self._lock:
            for key, names in awaited.items():
                self._lane(key).awaited.update(names)

    def add(self, records: Iterable[Record]) -> None:
        """Take records in the order of delivery; the first of each lane that is free becomes ready."""
        ready = []
        with self._lock:
            for record in records:
                if record.lane is None:
                    ready.append(record)
                    continue
                lane = self._lane(record.lane)
                lane.arrive(record)
                self.parked += 1
                ready += self._advance(record.lane, lane)
        if ready:
            self._make_ready(ready)

    def finish(self, record: Record, outcome: Outcome) -> None:
        """Note that a record in hand has run; where its job is done, the next one of its lane becomes ready.

        A job that goes on in a tier suspends its lane. Any other end is followed by `release`, when it is settled:
        were a dead letter lost in a crash, its job would run again after the next one of its key.
        """
        awaited = awaited_after(record, outcome)
        if awaited is not None and record.key is not None:
            with self._lock:  # which `drop` takes after the assignment was closed: it forgets this, or nothing is added
                if record.assignment.is_open:
                    self._lane(record.key).awaited[awaited] += 1
        if awaited is not None or outcome is DONE or outcome is SKIPPED:
            self.release(record)

    def release(self, record: Record) -> None:
        """Note that a record in hand was settled, or will not run here; the next one of its lane becomes ready."""
        if record.lane is None:
            return
        with self._lock:
            lane = self._lane(record.lane)
            if lane.in_hand is record:
                lane.in_hand = None
            following = self._advance(record.lane, lane)
        if following:
            self._make_ready(following)

    def drop(self, assignments: Collection[Assignment]) -> list[Record]:
        """Take out the waiting records of partitions that are no longer ours; ready ones are the runners' to drop."""
        dropped: list[Record] = []
        with self._lock:
            for lane in self._lanes.values():
                for queue in (lane.ahead, lane.behind):
                    gone = [record for record in queue if record.assignment in assignments]
                    if gone:
                        kept = [record for record in queue if record.assignment not in assignments]
                        queue.clear()
                        queue.extend(kept)
                        dropped += gone
            self.parked -= len(dropped)
            following = self._forget_awaited({(a.tier, a.partition) for a in assignments if a.tier is not None})
        if following:
            self._make_ready(following)
        return dropped

    def _lane(self, key: Lane) -> _Lane:
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = _Lane()
        return lane

    def _advance(self, key: Lane, lane: _Lane) -> list[Record]:
        following = lane.advance()
        if following is not None:
            self.parked -= 1
            return [following]
        if lane.is_idle:
            self._lanes.pop(key, None)
        return []

    def _forget_awaited(self, gone: Collection[tuple[timedelta, int]]) -> list[Record]:
        """Wait no more for what stands in tiers that are not ours any more; what may start now of other partitions."""
        following: list[Record] = []
        for key, lane in list(self._lanes.items()):
            for awaited in [awaited for awaited in lane.awaited if awaited[:2] in gone]:
                del lane.awaited[awaited]
            following += self._advance(key, lane)
        return following
