"""Admission: of a queue with a bound on what waits, no more wait than it admits, as far as its producer could know."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from typing import Final

from chaos.judging.account import Finding
from chaos.notes import OK
from chaos.sharing.calm import Calm
from chaos.sharing.ledger import CONFIRMED, KNOWN, UNKNOWN, Shared
from chaos.sharing.streams import MAX_WAITING

BOUNDED: Final = ("bounded", "patient")
UNSURE_S: Final = 3.0
"""So long after it knows again how many wait, jobs that it sent before may be confirmed."""


def broken_admissions(shared: Shared) -> Iterator[Finding]:
    """At no confirmation more jobs wait or run than the bound, where the producer was told how many these are.

    A job that was asked for while it did not know was admitted then, however late the brokers have confirmed it.
    """
    calm = Calm(shared)
    for job_type in BOUNDED:
        ends, changes = _ends(shared, job_type), _changes(shared, job_type)
        there = [one for one in shared.asked if one.how == CONFIRMED and one.job_type == job_type]
        for number, one in enumerate(there, 1):
            at_s, open_ = one.at_s, number - bisect_left(ends, one.at_s)
            is_unsure = _is_unsure(changes, at_s) or _is_unsure(changes, one.asked_at_s)
            if open_ > MAX_WAITING and not is_unsure and calm.holds(at_s - UNSURE_S, at_s):
                yield Finding("admitted", f"{job_type}: {open_} jobs waited, {MAX_WAITING} may, at {at_s:.2f} s")


def _changes(shared: Shared, job_type: str) -> list[tuple[float, bool]]:
    """When the producer began and ended to know how many wait; a type has the name of its queue."""
    how = {UNKNOWN: False, KNOWN: True}
    return [(one.at_s, how[one.how]) for one in shared.asked if one.how in how and one.job_type == job_type]


def _is_unsure(changes: list[tuple[float, bool]], at_s: float) -> bool:
    """Whether the producer did not know it, or has only just learned it."""
    before = [change for change in changes if change[0] <= at_s]
    return bool(before) and (not before[-1][1] or at_s - before[-1][0] < UNSURE_S)


def _ends(shared: Shared, job_type: str) -> list[float]:
    first: dict[str, float] = {}
    for turn in shared.of(job_type):
        if turn.how == OK:
            first[turn.job_id] = min(turn.end_s, first.get(turn.job_id, turn.end_s))
    confirmed = {one.job_id for one in shared.asked if one.how == CONFIRMED}
    return sorted(end_s for job_id, end_s in first.items() if job_id in confirmed)
