"""Limits, by an outside ledger: no window holds too many begins, not too many run at once, what is allowed is used."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from chaos.judging.account import Finding
from chaos.sharing.calm import BACK_S, Calm, only_strike
from chaos.sharing.ledger import CONFIRMED, Shared, Turn
from chaos.sharing.streams import PER_S, Guarantee, guarantees

WINDOW_S: Final = 3.0
STEP_S: Final = 0.5
LEAST_USE: Final = 0.9
LEAST_SEEN_S: Final = 10.0
"""Less calm time with work than this tells nothing."""
LATE_S: Final = 0.1
"""On a machine without a free processor, the first line of a job comes so late after the job was counted."""
LATE_IN_CHILD_S: Final = 0.4
"""Of one that runs in a child process, which then has to get a processor as well."""
KILLS: Final = frozenset({"kill_workers", "kill_fleet", "kill_coordinator"})
SEEN_S: Final = 12.0
"""Where no other fault happens for so long after a kill, the use after it is judged."""


def broken_limits(shared: Shared) -> Iterator[Finding]:
    """No window of a rate holds too many begins, and no more jobs run at once than a bound allows."""
    calm, free = Calm(shared), Calm(Shared(asked=(), turns=()), shared.busy)
    for guarantee in guarantees(shared.sizes):
        aware = [turn for turn in shared.of(guarantee.job_type) if calm.is_aware(turn.pid, turn.start_s)]
        for scope, turns in _by_scope(guarantee, aware).items():
            if guarantee.is_rate:
                yield from _windows(guarantee, scope, turns, free)
            else:
                yield from _at_once(guarantee, scope, [turn for turn in turns if not calm.outlives(turn)])


def _by_scope(guarantee: Guarantee, turns: Sequence[Turn]) -> dict[str, list[Turn]]:
    found: defaultdict[str, list[Turn]] = defaultdict(list)
    for turn in turns:
        found[turn.scope if guarantee.is_by_scope else ""].append(turn)
    return found


def _windows(guarantee: Guarantee, scope: str, turns: Sequence[Turn], free: Calm) -> Iterator[Finding]:
    first = 0
    for number, turn in enumerate(turns):
        while turn.start_s - turns[first].start_s >= PER_S:
            first += 1
        before = turns[max(0, number - guarantee.count)]
        span_s, late_s = turn.start_s - before.start_s, LATE_IN_CHILD_S if before.child else LATE_S
        if number - first + 1 > guarantee.count and (
            span_s < PER_S - late_s or free.holds(turn.start_s - PER_S, turn.start_s)
        ):
            said = f"{guarantee.job_type} {scope}: {number - first + 1} began within {PER_S:g} s, allowed are"
            yield Finding("limit", f"{said} {guarantee.count}, at {turn.start_s:.2f} s")


def _at_once(guarantee: Guarantee, scope: str, turns: Sequence[Turn]) -> Iterator[Finding]:
    running: list[Turn] = []
    for turn in turns:
        running = [one for one in running if one.end_s > turn.start_s] + [turn]
        if len(running) > guarantee.count:
            said = f"{guarantee.job_type} {scope}: {len(running)} ran at once, allowed are {guarantee.count}"
            yield Finding("limit", f"{said}, at {turn.start_s:.2f} s in the processes {[one.pid for one in running]}")


# ---- what is used


@dataclass(frozen=True, slots=True)
class Use:
    """How much of a limit was used while there was work and nothing was amiss.

    Attributes:
        seconds: how long that was, all scopes together.
        share: used by allowed.
        back_s: the longest time until it was used again after a process was killed; None where no kill tells.
    """

    guarantee: Guarantee
    seconds: float
    share: float
    back_s: float | None

    def findings(self) -> Iterator[Finding]:
        """Whether it was too little, or came back too late."""
        if self.seconds >= LEAST_SEEN_S and self.share < LEAST_USE:
            yield Finding(
                "unused", f"{self.guarantee.job_type}: {self.share:.0%} of the limit was used, with work at hand"
            )
        if self.back_s is not None and self.back_s > BACK_S:
            said = f"{self.guarantee.job_type}: after a kill the limit was used again after {self.back_s:.1f} s"
            yield Finding("unused", f"{said}, later than {BACK_S:g} s")


def uses(shared: Shared) -> list[Use]:
    """Of each limit."""
    calm = Calm(shared, shared.busy)
    steps = [at_s for at_s in _steps(shared) if calm.holds(at_s, at_s + WINDOW_S)]
    return [_use(guarantee, shared, steps) for guarantee in guarantees(shared.sizes)]


def _use(guarantee: Guarantee, shared: Shared, steps: Sequence[float]) -> Use:
    scopes = [_Scope(guarantee, scope, shared) for scope in guarantee.scopes()]
    seconds = used = 0.0
    for scope in scopes:
        for at_s in steps:
            if scope.has_work(at_s, WINDOW_S):
                seconds += STEP_S
                used += STEP_S * scope.used(at_s, WINDOW_S)
    return Use(guarantee, seconds, used / seconds if seconds else 1.0, _back_s(scopes, shared))


def _steps(shared: Shared) -> Iterator[float]:
    if shared.turns:
        at_s = shared.turns[0].start_s
        while at_s + WINDOW_S < shared.turns[-1].start_s:
            yield at_s
            at_s += STEP_S


def _back_s(scopes: Sequence[_Scope], shared: Shared) -> float | None:
    """The longest of all kills that nothing else has followed, and behind which there was work all the time."""
    found = []
    for strike in shared.strikes:
        if strike.kind in KILLS and strike.pids and only_strike(strike, shared.strikes, SEEN_S):
            if _is_quiet(shared, strike.begin_s) or not all(
                scope.has_work(strike.begin_s + BACK_S, WINDOW_S) for scope in scopes
            ):
                continue
            found.append(_first_used_s(scopes, strike.begin_s))
    return max(found, default=None)


def _is_quiet(shared: Shared, kill_s: float) -> bool:
    """Whether an order, a child that a suspect runs in, or want of a processor holds jobs back after a kill."""
    until_at_s = kill_s + SEEN_S
    if any(turn.child and kill_s <= turn.start_s <= until_at_s for turn in shared.turns):
        return True
    if any(begin_s < until_at_s and end_s > kill_s for begin_s, end_s in shared.busy):
        return True
    return any(held.from_s <= until_at_s and held.until_at_s + BACK_S >= kill_s for held in shared.quiet)


def _first_used_s(scopes: Sequence[_Scope], kill_s: float) -> float:
    """How long after a kill a window began in which the whole limit was used; 0 where it was used all the time."""
    for step in range(int(SEEN_S / 0.1)):
        share = sum(scope.used(kill_s + step * 0.1, WINDOW_S) for scope in scopes) / len(scopes)
        if share >= LEAST_USE:
            return step * 0.1
    return SEEN_S


class _Scope:
    """The jobs of one scope of a limit: when each was there, when it began, and how long it ran."""

    def __init__(self, guarantee: Guarantee, scope: str, shared: Shared) -> None:
        self._guarantee = guarantee
        self._turns = [turn for turn in shared.of(guarantee.job_type) if scope in ("", turn.scope)]
        self._starts = [turn.start_s for turn in self._turns]
        first_s: dict[str, float] = {}
        for turn in self._turns:
            first_s.setdefault(turn.job_id, turn.start_s)
        asked = [
            one
            for one in shared.asked
            if one.how == CONFIRMED and one.job_type == guarantee.job_type and scope in ("", one.scope)
        ]
        self._there = [one.at_s for one in asked]
        self._begun = sorted(max(one.at_s, first_s[one.job_id]) for one in asked if one.job_id in first_s)
        self._per_s = guarantee.count / (PER_S if guarantee.is_rate else guarantee.stream.wait_ms / 1_000)

    def has_work(self, at_s: float, length_s: float) -> bool:
        """Whether more jobs wait than the limit lets begin in the window."""
        waiting = bisect_left(self._there, at_s) - bisect_left(self._begun, at_s)
        return waiting > self._per_s * length_s

    def used(self, at_s: float, length_s: float) -> float:
        """The share of the limit that is used in a window."""
        first, last = bisect_left(self._starts, at_s), bisect_left(self._starts, at_s + length_s)
        if self._guarantee.is_rate:
            return (last - first) / (self._guarantee.count / PER_S * length_s)
        ran_s = sum(
            max(0.0, min(turn.end_s, at_s + length_s) - max(turn.start_s, at_s))
            for turn in self._turns[max(0, first - self._guarantee.count) : last]
        )
        return ran_s / (self._guarantee.count * length_s)
