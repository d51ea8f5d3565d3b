"""Figures, their targets, and their statistics over several rounds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from cluster import Site

Unit = Literal["/s", "ratio", "ms", "MB", "µs", "jobs"]
Values = dict[str, float]
"""{figure's name: its value} of one round."""

_DECIMALS: dict[Unit, int] = {"/s": 0, "ratio": 2, "ms": 1, "MB": 0, "µs": 2, "jobs": 0}


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
        waiting: jobs of the backlog beside which memory is measured.
        seconds: how long paced jobs are sent.
    """

    jobs: int
    waiting: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """Something that is measured once in each round.

    Attributes:
        title: what is measured, in words.
        run: measures it; the round's number decides which of a pair goes first.
    """

    name: str
    title: Callable[[Sizes], str]
    figures: tuple[Figure, ...]
    run: Callable[[Site, Sizes, int], Values]


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that `share` of all do not exceed.

    >>> percentile([5, 1, 4, 2, 3], 0.5), percentile(range(1, 101), 0.99)
    (3, 99)
    """
    ranked = sorted(values)
    return ranked[max(0, math.ceil(share * len(ranked)) - 1)]
