"""How long after a fault the jobs ran at their usual rate again, from the ends that the outside ledger has."""

from __future__ import annotations

import statistics
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from chaos.judging.account import HITS_PROCESSES, Strike
from chaos.notes import Run

WINDOW_S: Final = 1.0
STEP_S: Final = 0.1
FULL: Final = 0.8
"""The share of the usual rate that counts as full: by chance alone a second's count falls below it one time in a
hundred."""
SHOWS_WITHIN_S: Final = 6.0
"""A fault that lowers the rate does so within this time of its end."""
SEEN_S: Final = 5.0
"""What a process has run in so many seconds before it was hit tells which partitions it owned."""
STILL_S: Final = 2.0
"""A partition that completes nothing for so long stands still: even the quiet queue's have ten jobs a second."""
GIVE_UP_S: Final = 120.0


@dataclass(frozen=True, slots=True)
class Recovery:
    """What a fault did to the rate.

    Attributes:
        seconds: from its begin until the rate was full again and no partition stood still any more; 0 where it never
            fell; None where it was not seen to rise again.
        is_alone: whether no other fault was at work meanwhile, so that the seconds are this fault's.
    """

    strike: Strike
    seconds: float | None
    is_alone: bool


class Rates:
    """Completed runs by partition and time."""

    def __init__(self, runs: Iterable[Run]) -> None:
        self._ends: dict[str, list[float]] = defaultdict(list)
        self._owned: dict[int, list[tuple[float, str]]] = defaultdict(list)
        for run in runs:
            if run.end_s is not None:
                partition = run.origin.rpartition("/")[0]
                self._ends[partition].append(run.end_s)
                self._owned[run.pid].append((run.end_s, partition))
        for ends in self._ends.values():
            ends.sort()

    @property
    def partitions(self) -> frozenset[str]:
        """All that had runs, as `topic/partition`."""
        return frozenset(self._ends)

    def owned_by(self, pids: Iterable[int], at_s: float) -> frozenset[str]:
        """The partitions whose jobs these processes ran just before."""
        found = (place for pid in pids for end_s, place in self._owned.get(pid, ()) if at_s - SEEN_S <= end_s <= at_s)
        return frozenset(found)

    def count(self, partitions: Iterable[str], from_s: float, length_s: float) -> int:
        """Runs that ended in these partitions in a stretch of time."""
        return sum(
            bisect_left(self._ends[place], from_s + length_s) - bisect_left(self._ends[place], from_s)
            for place in partitions
        )

    def still_until(self, partitions: Iterable[str], strike: Strike) -> float:
        """When the last of these partitions went on that a fault has brought to a stand."""
        return max((self._moves_on(self._ends[place], strike) for place in partitions), default=strike.begin_s)

    def _moves_on(self, ends: Sequence[float], strike: Strike) -> float:
        first = max(0, bisect_left(ends, strike.begin_s) - 1)
        last = bisect_left(ends, strike.end_s + SHOWS_WITHIN_S)
        stands = (after for before, after in pairwise(ends[first : last + 1]) if after - before > STILL_S)
        return max(stands, default=strike.begin_s)

    def usual(self, partitions: frozenset[str]) -> float:
        """The median of their completions a second, over the middle of the run."""
        ends = sorted(end_s for place in partitions for end_s in self._ends[place])
        if not ends:
            return 0.0
        begin_s, length_s = ends[len(ends) // 20], ends[-len(ends) // 20] - ends[len(ends) // 20]
        counts = [self.count(partitions, begin_s + second, 1.0) for second in range(max(1, int(length_s)))]
        return statistics.median(counts)


def recoveries(runs: Iterable[Run], strikes: Sequence[Strike], until_at_s: float) -> list[Recovery]:
    """Each fault's recovery, of those that struck before `until_at_s`, when jobs ceased to be enqueued."""
    rates = Rates(runs)
    usual: dict[frozenset[str], float] = {}
    found = []
    for strike in strikes:
        if strike.end_s + SHOWS_WITHIN_S > until_at_s:
            continue
        partitions = rates.partitions
        if strike.kind in HITS_PROCESSES:
            partitions = rates.owned_by(strike.pids, strike.begin_s)
        if partitions not in usual:
            usual[partitions] = rates.usual(partitions)
        seconds = _seconds(rates, partitions, usual[partitions], strike)
        if seconds is not None:
            seconds = max(seconds, rates.still_until(partitions, strike) - strike.begin_s)
        found.append(Recovery(strike, seconds, _is_alone(strike, seconds, strikes)))
    return found


def _seconds(rates: Rates, partitions: frozenset[str], usual: float, strike: Strike) -> float | None:
    at_s, shown_by_s = strike.begin_s, strike.end_s + SHOWS_WITHIN_S
    wanted = FULL * usual * WINDOW_S
    while rates.count(partitions, at_s, WINDOW_S) >= wanted:
        at_s += STEP_S
        if at_s > shown_by_s:
            return 0.0
    while rates.count(partitions, at_s, WINDOW_S) < wanted:
        at_s += STEP_S
        if at_s > strike.end_s + GIVE_UP_S:
            return None
    return at_s - strike.begin_s


def _is_alone(strike: Strike, seconds: float | None, strikes: Sequence[Strike]) -> bool:
    until_at_s = strike.end_s + GIVE_UP_S if seconds is None else max(strike.end_s, strike.begin_s + seconds)
    return not any(
        other is not strike and other.begin_s < until_at_s and other.end_s + SHOWS_WITHIN_S > strike.begin_s
        for other in strikes
    )


def summarise(found: Sequence[Recovery]) -> Mapping[str, tuple[float, float]]:
    """{kind: (median, longest) seconds to recover}; a fault that was not recovered from counts as endless."""
    by_kind: dict[str, list[float]] = defaultdict(list)
    for recovery in found:
        by_kind[recovery.strike.kind].append(float("inf") if recovery.seconds is None else recovery.seconds)
    return {kind: (statistics.median(seconds), max(seconds)) for kind, seconds in sorted(by_kind.items())}
