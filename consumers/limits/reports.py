"""`LimitReports`: the use of each limit in this process and the jobs that it holds back, for the worker's status."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from typing import Final

from ..gates.waiting_view import WaitingView
from ..meters.limit_report import LimitReport, ScopeReport, first_of, kept_limit
from .partition_keeper import Keeper
from .queue_keepers import AnyKeeper
from .scope import Limited, Scope
from .scopes import Scopes
from .shared_keeper import SharedKeeper

AT_A_TIME: Final = 500
LONGEST_VALUE: Final = 100

Held = Mapping[Limited, int]


class LimitReports:
    """Reports the limits of one queue. Safe to call from all threads."""

    def __init__(self, scopes: Scopes, view: WaitingView) -> None:
        self._scopes, self._view = scopes, view
        self._given: Mapping[str, LimitReport] = {}

    def note_given(self, reports: Mapping[str, LimitReport]) -> None:
        """Keep {limit: its report} of those whose shares this process gives; its coordinator calls it now and then."""
        self._given = reports

    def look(self) -> dict[str, LimitReport]:
        """{limit: its report}."""
        keepers = self._scopes.keepers
        if not keepers:
            return {}
        held = {why: count for why, count in self._view.counts().items() if isinstance(why, Limited)}
        return {name: self._of(name, keeper, held) for name, keeper in keepers.items()}

    def _of(self, name: str, keeper: AnyKeeper, held: Held) -> LimitReport:
        here = {why: count for why, count in held.items() if why.limit == name}
        if isinstance(keeper, SharedKeeper):
            return self._of_shared(name, here)
        return kept_limit(self._of_scopes(keeper, here), sum(here.values()))

    def _of_scopes(self, keeper: Keeper, held: Held) -> list[ScopeReport]:
        with self._scopes.lock:
            scopes = list(keeper.scopes.values())
        found: list[ScopeReport] = []
        for first in range(0, len(scopes), AT_A_TIME):  # runners need the lock in between
            with self._scopes.lock:
                now_s = self._scopes.clock()
                some = scopes[first : first + AT_A_TIME]
                found += [_of_scope(scope, held.get(scope.why, 0), now_s) for scope in some]
        return found

    def _of_shared(self, name: str, held: Held) -> LimitReport:
        """Report what is held here, and what is used where this process is the coordinator, which alone knows it."""
        given = self._given.get(name, LimitReport(held=0, keeps=False))
        scopes = first_of(ScopeReport(value=_shown(why.value), held=count) for why, count in held.items())
        return replace(given, held=sum(held.values()), listed=[*given.listed, *scopes])


def _of_scope(scope: Scope, held: int, now_s: float) -> ScopeReport:
    next_s = scope.room_in_s(now_s) if held else math.inf
    return ScopeReport(
        value=_shown(scope.why.value),
        used=scope.meter.most - scope.meter.free(now_s),
        of=scope.meter.most,
        held=held,
        next_s=None if math.isinf(next_s) else round(next_s, 3),
    )


def _shown(value: str | None) -> str | None:
    return None if value is None else value[:LONGEST_VALUE]


def as_data(looks: Iterable[Mapping[str, LimitReport]]) -> dict[str, dict[str, object]]:
    """{limit: its report as JSON has it}; of a resource, that of all queues of this process together."""
    merged: dict[str, LimitReport] = {}
    for name, report in ((name, report) for look in looks for name, report in look.items()):
        other = merged.get(name, LimitReport(held=0, keeps=False))
        merged[name] = LimitReport(
            held=report.held + other.held,
            keeps=report.keeps or other.keeps,
            scopes=report.scopes + other.scopes,
            full=report.full + other.full,
            listed=[*other.listed, *report.listed],
        )
    return {name: asdict(report) for name, report in merged.items()}
