"""`Scaler`: the recommendations for one queue as time goes by: up at once, down late and by steps. Pure.

A single recommendation needs none of this. What a scaler keeps only makes it calmer: after a restart it begins anew,
and wants no fewer workers than there are until it has watched for the time of stabilization.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import replace
from typing import Final

from .capacity import BUSY, Capacity, capacity_of
from .load import QueueLoad, ScalingPolicy
from .rule import Bound, Recommendation, bounded, recommend, with_eta

SETTLED_AFTER_S: Final = 60.0
"""After a change of the workers, their pace is not the pace of so many: some start, and partitions move."""
WEIGHT: Final = 0.3
"""The weight of a new reading of a worker's pace, beside what was known of it, while the workers have time to spare."""
TOLERANCE: Final = 1.1
"""A pace is not measured so well that a tenth counts: fewer workers are wanted where they would do for a tenth more,
and more where a tenth is missing or jobs wait for too long."""
MORE: Final = 1.25
"""While new workers start, more are wanted only if it is so many times as many: each change of the group stops all of
it for a moment, so that adding one after the other would make a backlog of its own."""


def step_down(wanted: int, present: int, policy: ScalingPolicy) -> int:
    """The next number on the way down.

    >>> [step_down(1, present, ScalingPolicy()) for present in (12, 9, 3, 1)]
    [9, 7, 2, 1]
    """
    return max(wanted, present - max(1, math.floor(present * policy.most_down)))


def recommend_once(load: QueueLoad, policy: ScalingPolicy) -> Recommendation:
    """The recommendation of a look without any before it: at most one step down, and none while jobs wait too long."""
    found = recommend(load, policy)
    if not found.is_known or found.wanted is None or not load.workers or found.wanted >= load.workers:
        return found
    wanted = load.workers if _holds(found) else step_down(found.wanted, load.workers, policy)
    return with_eta(replace(found, wanted=wanted), policy, capacity_of(load))


def _holds(found: Recommendation) -> bool:
    """Whether jobs wait for too long for want of workers, so that none is to go."""
    return found.is_behind and found.bound_by in (Bound.NOTHING, Bound.RUNNERS, Bound.CPU)


class Scaler:
    """Takes one look after another at a queue."""

    def __init__(self, policy: ScalingPolicy) -> None:
        self._policy = policy
        self._wanted: int | None = None
        self._capacity: Capacity | None = None
        self._needs: deque[tuple[float, int]] = deque()
        self._since_at_s: float | None = None
        self._stepped_s = -math.inf
        self._raised_s = -math.inf
        self._workers: tuple[int | None, float] = (None, -math.inf)

    def look(self, load: QueueLoad) -> Recommendation:
        """The recommendation by this look and those before it."""
        load = self._with_settling(load)
        self._learn(load)
        found = recommend(load, self._policy, self._capacity)
        wanted = self._stable(found)
        if wanted is None or wanted == found.wanted:
            return found
        return with_eta(replace(found, wanted=wanted, reason=self._reason(found, wanted)), self._policy, self._capacity)

    def _reason(self, found: Recommendation, wanted: int) -> str:
        if not found.is_known or wanted == found.wanted:
            return found.reason
        return f"{found.reason}; {found.wanted} would do, and workers come and go in few steps"

    def _with_settling(self, load: QueueLoad) -> QueueLoad:
        before, since_at_s = self._workers
        if load.workers != before:
            since_at_s = -math.inf if before is None else load.at_s
            self._workers = load.workers, since_at_s
        return replace(load, is_settled=load.is_settled and load.at_s - since_at_s >= SETTLED_AFTER_S)

    def _learn(self, load: QueueLoad) -> None:
        seen = capacity_of(load)
        if seen is None:
            return
        known = self._capacity
        if known is not None and known.is_sure and not seen.is_sure:
            return
        if known is None or not known.is_sure or (load.busy_share or 0.0) >= BUSY:
            self._capacity = seen
        else:
            self._capacity = replace(seen, per_s=known.per_s * (seen.per_s / known.per_s) ** WEIGHT)

    def _stable(self, found: Recommendation) -> int | None:
        """Workers that are wanted now: the most that was needed within the window, on the way down a step at a time."""
        at_s, policy = found.load.at_s, self._policy
        self._since_at_s = at_s if self._since_at_s is None else self._since_at_s
        present = found.load.workers if self._wanted is None else self._wanted
        if not found.is_known or found.wanted is None or present is None:
            return present
        window_s = policy.stabilization.total_seconds()
        self._needs.append((at_s, self._least(found)))
        while self._needs[0][0] < at_s - window_s:
            self._needs.popleft()
        if found.wanted > present:
            self._wanted = self._raised(found, present)
        else:
            least = max(count for _, count in self._needs)
            self._wanted = self._lowered(found, least, present, has_watched=at_s - self._since_at_s >= window_s)
        return self._wanted

    def _least(self, found: Recommendation) -> int:
        """The workers that would do for a tenth more than there is."""
        if found.need is None:
            return found.wanted or 0
        return bounded(max(math.ceil(found.need * TOLERANCE), 1), found.load, self._policy)[0]

    def _raised(self, found: Recommendation, present: int) -> int:
        assert found.wanted is not None
        at_s = found.load.at_s
        is_starting = at_s - self._raised_s < self._policy.start.total_seconds()
        if is_starting and found.wanted < present * MORE:
            return present
        if present and found.need is not None and found.need < present * TOLERANCE and not found.is_behind:
            return present
        self._raised_s = at_s
        return found.wanted

    def _lowered(self, found: Recommendation, least: int, present: int, *, has_watched: bool) -> int:
        at_s = found.load.at_s
        most, lowered = bounded(present, found.load, self._policy)
        if lowered is not None:
            return most
        is_due = has_watched and at_s - self._stepped_s >= self._policy.step.total_seconds()
        if least >= present or not is_due or _holds(found):
            return present
        self._stepped_s = at_s
        return step_down(least, present, self._policy)
