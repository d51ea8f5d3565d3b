"""`LimitReport`: what is used of a limit, and how many jobs it holds back, as one process knows it."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

MOST_SCOPES: Final = 10
"""Scopes of a limit that are reported at most: those that hold back most, then those that are fullest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScopeReport:
    """One scope.

    Attributes:
        value: the key, the tenant or the text that it counts; None where the limit counts all jobs together.
        used, of: what has begun in the window, or runs, of how much; shares that workers hold count as used. `of` is 0
            where only the coordinator knows it.
        next_s: when the first one that is held may begin; None where none is held, or where that depends on a run.
    """

    value: str | None
    used: int = 0
    of: int = 0
    held: int = 0
    next_s: float | None = None

    @property
    def rank(self) -> tuple[int, float]:
        """The larger, the more people want to see it."""
        return self.held, self.used / max(1, self.of)


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitReport:
    """One limit.

    Attributes:
        held: the jobs that it holds back in this process.
        keeps: whether the process keeps it: as the owner of partitions, or as the coordinator of its shares.
        scopes, full: of how many scopes that it keeps something is used, and how many of them have no room.
        listed: some of them, and others that hold jobs back.
    """

    held: int
    keeps: bool
    scopes: int = 0
    full: int = 0
    listed: Sequence[ScopeReport] = ()


def kept_limit(scopes: Iterable[ScopeReport], held: int) -> LimitReport:
    """Report a limit that this process keeps, by its scopes."""
    found = [scope for scope in scopes if scope.used or scope.held]
    full = sum(scope.used >= scope.of for scope in found)
    return LimitReport(held=held, keeps=True, scopes=len(found), full=full, listed=first_of(found))


def first_of(scopes: Iterable[ScopeReport]) -> list[ScopeReport]:
    """The scopes that people want to see."""
    return heapq.nlargest(MOST_SCOPES, scopes, key=lambda scope: scope.rank)
