"""The doctor's findings: one for each guarantee and place, with a verdict and how to fix it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Verdict(Enum):
    """How a guarantee fares."""

    KEPT = "kept"
    AT_RISK = "at risk"
    BROKEN = "broken"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One guarantee, looked at in one place.

    Attributes:
        guarantee: the number of the guarantee, such as `P1`; empty for what all guarantees need.
        place: `cluster`, a queue's or a job type's name.
        observed: what the doctor saw, in one line.
        fix: what to do about it; empty when there is nothing to do.
    """

    verdict: Verdict
    guarantee: str
    place: str
    observed: str
    fix: str = ""


def kept(guarantee: str, place: str, observed: str) -> Finding:
    """The guarantee is kept."""
    return Finding(verdict=Verdict.KEPT, guarantee=guarantee, place=place, observed=observed)


def at_risk(guarantee: str, place: str, observed: str, fix: str) -> Finding:
    """The guarantee is kept, but one mishap from outside would break it."""
    return Finding(verdict=Verdict.AT_RISK, guarantee=guarantee, place=place, observed=observed, fix=fix)


def broken(guarantee: str, place: str, observed: str, fix: str) -> Finding:
    """The guarantee is not kept."""
    return Finding(verdict=Verdict.BROKEN, guarantee=guarantee, place=place, observed=observed, fix=fix)


def unknown(guarantee: str, place: str, observed: str, fix: str = "") -> Finding:
    """The doctor could not find out."""
    return Finding(verdict=Verdict.UNKNOWN, guarantee=guarantee, place=place, observed=observed, fix=fix)
