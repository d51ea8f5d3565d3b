"""`LimitReport`: what is used of a limit, and what waits behind it, as one process knows it."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

MOST_SCOPES: Final = 10
"""Scopes of a limit that are reported at most: those behind which most waits, then those that are fullest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScopeReport:
    """One scope.

    Attributes:
        value: the key, the tenant or the text that it counts; None where the limit counts all jobs together.
        used, of: what has begun in the window, or runs, of how much; shares that workers hold count as used. `of` is 0
            where only the coordinator knows it.
        next_s: when the first that waits may begin; None where none waits, or where that depends on the end of a run.
    """

    value: str | None
    used: int = 0
    of: int = 0
    waiting: int = 0
    next_s: float | None = None

    @property
    def rank(self) -> tuple[int, float]:
        """The larger, the more people want to see it."""
        return self.waiting, self.used / max(1, self.of)


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitReport:
    """One limit.

    Attributes:
        waiting: the jobs that wait for it in this process.
        keeps: whether the process keeps it: as the owner of partitions, or as the coordinator of its shares.
        scopes, full: of how many scopes that it keeps something is used, and how many of them have no room.
        listed: some of them, and others where jobs wait.
    """

    waiting: int
    keeps: bool
    scopes: int = 0
    full: int = 0
    listed: Sequence[ScopeReport] = ()


def kept_limit(scopes: Iterable[ScopeReport], waiting: int) -> LimitReport:
    """Report a limit that this process keeps, by its scopes."""
    found = [scope for scope in scopes if scope.used or scope.waiting]
    full = sum(scope.used >= scope.of for scope in found)
    return LimitReport(waiting=waiting, keeps=True, scopes=len(found), full=full, listed=first_of(found))


def first_of(scopes: Iterable[ScopeReport]) -> list[ScopeReport]:
    """The scopes that people want to see."""
    return heapq.nlargest(MOST_SCOPES, scopes, key=lambda scope: scope.rank)
