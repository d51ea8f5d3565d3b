"""Figures, their targets, and their statistics over several rounds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from cluster import Site

Unit = Literal["/s", "ratio", "s", "ms", "MB", "kB", "bytes", "µs", "jobs"]
Values = dict[str, float]
"""{figure's name: its value} of one round."""

_DECIMALS: dict[Unit, int] = {"/s": 0, "ratio": 2, "s": 2, "ms": 1, "MB": 0, "kB": 2, "bytes": 1, "µs": 2, "jobs": 0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a figure must reach.

    Attributes:
        judged_by: the median of the rounds, or for bounds that must never be passed, the worst of them.
    """

    sense: Literal["at least", "below"]
    bound: float
    judged_by: Literal["median", "worst"] = "median"

    def judged(self, rounds: Sequence[float]) -> float:
        """The value that counts."""
        if self.judged_by == "median":
            return statistics.median(rounds)
        return min(rounds) if self.sense == "at least" else max(rounds)

    def is_met(self, rounds: Sequence[float]) -> bool:
        """Whether the value that counts reaches the bound."""
        judged = self.judged(rounds)
        return judged >= self.bound if self.sense == "at least" else judged < self.bound


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One figure that a measure gives in each round."""

    name: str
    label: str
    unit: Unit
    target: Target | None = None

    def show(self, value: float) -> str:
        """The value as people read it."""
        return f"{value:,.{_DECIMALS[self.unit]}f}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much is measured.

    Attributes:
        jobs: of a backlog and of a bulk.
        waiting: jobs of the backlog beside which memory is measured, and of the one behind a single key.
        seconds: how long paced jobs are sent.
        delayed: jobs that wait for their due times.
        over_s: how far their due times are spread.
        session_s: how soon the brokers miss a killed worker in the measures that kill one; None leaves it to them.
    """

    jobs: int
    waiting: int
    seconds: float
    delayed: int
    over_s: float
    session_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """Something that is measured once in each round.

    Attributes:
        title: what is measured, in words.
        run: measures it; the round's number decides which of a pair goes first.
        is_long: whether a run of everything measures it in its first round only.
    """

    name: str
    title: Callable[[Sizes], str]
    figures: tuple[Figure, ...]
    run: Callable[[Site, Sizes, int], Values]
    is_long: bool = False


def at_least(bound: float, judged_by: Literal["median", "worst"] = "median") -> Target:
    """A lower bound."""
    return Target(sense="at least", bound=bound, judged_by=judged_by)


def below(bound: float) -> Target:
    """An upper bound, which no round may reach."""
    return Target(sense="below", bound=bound, judged_by="worst")


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that `share` of all do not exceed.

    >>> percentile([5, 1, 4, 2, 3], 0.5), percentile(range(1, 101), 0.99)
    (3, 99)
    """
    ranked = sorted(values)
    return ranked[max(0, math.ceil(share * len(ranked)) - 1)]
