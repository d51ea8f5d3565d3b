"""Turns: no job is lost, none that was refused runs, urgent ones and small tenants pass what waits, none is starved."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

from chaos.judging.account import Finding
from chaos.notes import OK
from chaos.sharing.calm import Calm
from chaos.sharing.ledger import CONFIRMED, REFUSED, Asked, Shared, Turn
from chaos.sharing.streams import FLOOD

SEEN_S: Final = 0.5
"""What comes is read within this time."""
MOST_BEFORE: Final = 32
"""Jobs that begin at a worker between the arrival of one that passes them and its own begin: twice its runners."""
PASSED_BY: Final = 0.95
"""Of those that pass, so many do so within that: a machine may stand still for a moment, and no log shows it."""
LEAST_PASSES: Final = 20
LOW_RATIO: Final = 0.12
"""Of the starts of normal and low ones, half of what the weights 3 and 1 give low ones."""
LEAST_STARTS: Final = 100
WINDOW_S: Final = 2.0


def lost_turns(shared: Shared) -> Iterator[Finding]:
    """Each confirmed job ends well, and one that was refused is none."""
    begun = {turn.job_id for turn in shared.turns}
    ended = {turn.job_id for turn in shared.turns if turn.how == OK}
    for one in shared.asked:
        if one.how == CONFIRMED and one.job_id not in ended:
            yield Finding("lost", f"{one.job_id} ({one.job_type} {one.scope}) was confirmed and never ended well")
        if one.how == REFUSED and one.job_id in begun:
            yield Finding("refused", f"{one.job_id} ({one.job_type} {one.scope}) was refused, and ran")


def broken_turns(shared: Shared) -> Iterator[Finding]:
    """Order, and who passes whom."""
    calm = Calm(shared)
    ranked = shared.of("ranked")
    yield from _disordered(ranked)
    yield from _overlapping(ranked, calm)
    yield from _starved(shared, ranked, calm)
    for job_type in ("ranked", "even"):
        yield from _not_passing(job_type, shared, calm)


def _disordered(turns: Sequence[Turn]) -> Iterator[Finding]:
    """Within a priority, the jobs of a key begin for the first time in the order of their records."""
    first: dict[str, Turn] = {}
    for turn in turns:
        first.setdefault(turn.job_id, turn)
    by_key: defaultdict[tuple[str, str], list[Turn]] = defaultdict(list)
    for turn in first.values():
        by_key[turn.key, turn.scope].append(turn)
    for (key, scope), found in by_key.items():
        for earlier, later in pairwise(found):
            if earlier.place.rpartition("/")[0] == later.place.rpartition("/")[0] and earlier.offset > later.offset:
                yield Finding("order", f"ranked {scope}, {key}: {later.place} began after {earlier.place}")


def _overlapping(turns: Sequence[Turn], calm: Calm) -> Iterator[Finding]:
    """Across all priorities, the jobs of a key run one at a time."""
    by_key: defaultdict[str, list[Turn]] = defaultdict(list)
    for turn in turns:
        if calm.is_aware(turn.pid, turn.start_s):
            by_key[turn.key].append(turn)
    for key, found in by_key.items():
        for earlier, later in pairwise(found):
            if later.start_s < earlier.end_s and calm.holds(earlier.start_s, later.start_s):
                yield Finding("overlap", f"ranked {key}: {later.place} began within the run of {earlier.place}")


def _starved(shared: Shared, ranked: Sequence[Turn], calm: Calm) -> Iterator[Finding]:
    """While normal and low ones wait, low ones have their share of the starts."""
    stocks = {scope: _Stock(shared, "ranked", scope) for scope in ("normal", "low")}
    counts = dict.fromkeys(stocks, 0)
    for turn in ranked:
        at_s = turn.start_s
        if turn.scope in counts and calm.holds(at_s - WINDOW_S, at_s) and all(s.waits(at_s) for s in stocks.values()):
            counts[turn.scope] += 1
    starts = sum(counts.values())
    if starts >= LEAST_STARTS and counts["low"] < LOW_RATIO * starts:
        yield Finding("starved", f"ranked: {counts['low']} of {starts} starts were of low ones, while these waited")


def passes(job_type: str, shared: Shared, calm: Calm) -> list[int]:
    """For each job that passes others, how many began at its worker between its arrival and its begin."""
    starts: defaultdict[int, list[float]] = defaultdict(list)
    first: dict[str, Turn] = {}
    for turn in shared.of(job_type):
        starts[turn.pid].append(turn.start_s)
        first.setdefault(turn.job_id, turn)
    found = []
    for one in shared.asked:
        its = first.get(one.job_id)
        if its is not None and _is_passing(one, job_type) and calm.holds(one.at_s - WINDOW_S, its.start_s):
            own = starts[its.pid]
            found.append(max(0, bisect_left(own, its.start_s) - bisect_left(own, one.at_s + SEEN_S)))
    return found


def _is_passing(one: Asked, job_type: str) -> bool:
    return one.job_type == job_type and one.how == CONFIRMED and (one.scope == "high" or one.scope.startswith("small"))


def _not_passing(job_type: str, shared: Shared, calm: Calm) -> Iterator[Finding]:
    """An urgent job, or one of a tenant that has no other, begins before what waits for long."""
    found = sorted(passes(job_type, shared, calm))
    if len(found) >= LEAST_PASSES and (most := found[int(PASSED_BY * len(found))]) > MOST_BEFORE:
        whom = f"of {FLOOD}" if job_type == "even" else "of less priority"
        yield Finding("not passed", f"{job_type}: {most} jobs {whom} began before one that passes them")


class _Stock:
    """When jobs of a type and scope waited."""

    def __init__(self, shared: Shared, job_type: str, scope: str) -> None:
        first: dict[str, float] = {}
        for turn in shared.of(job_type):
            first.setdefault(turn.job_id, turn.start_s)
        asked = [
            one
            for one in shared.asked
            if (one.job_type, one.scope) == (job_type, scope) and one.how == CONFIRMED and one.job_id in first
        ]
        self._there = [one.at_s for one in asked]
        self._begun = sorted(max(one.at_s, first[one.job_id]) for one in asked)

    def waits(self, at_s: float, many: int = 20) -> bool:
        """Whether so many wait."""
        return bisect_left(self._there, at_s) - bisect_left(self._begun, at_s) >= many
