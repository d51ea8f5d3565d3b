"""`Breaker` and `DeadGuard`: after how many failures jobs wait, in place of failing one after the other."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import KW_ONLY, dataclass
from datetime import timedelta
from typing import Final

from ..counts import counted
from ..durations import format_duration

_NONE: Final = timedelta(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """When failures of a job type or a dependency hold its jobs, and how long before one of them probes.

    Attributes:
        failures: so many failed runs in a row open it; None: no number does.
        ratio: this share of failed runs in the window opens it, 0.5 for one half; None: no share does.
        window: how far back the share is counted.
        least: the share counts from so many runs in the window.
        open_for: how long it is open before a job probes; doubled after each probe that has failed.
        longest: `open_for` is doubled up to this.
    """

    failures: int | None = 5
    ratio: float | None = None
    window: timedelta = timedelta(minutes=1)
    least: int = 20
    open_for: timedelta = timedelta(seconds=10)
    longest: timedelta = timedelta(minutes=1)

    def faults(self) -> list[str]:
        """List what is wrong with the declaration; empty when all is well."""
        found = []
        if self.failures is None and self.ratio is None:
            found.append("a breaker without failures and ratio never opens: give one of them")
        if self.failures is not None and self.failures < 1:
            found.append(f"a breaker's failures must be at least 1; it is {self.failures}")
        if self.ratio is not None and not 0 < self.ratio <= 1:
            found.append(f"a breaker's ratio must be above 0 and at most 1, such as 0.5; it is {self.ratio}")
        if self.least < 1:
            found.append(f"a breaker's least must be at least 1; it is {self.least}")
        return found + self._time_faults()

    def _time_faults(self) -> list[str]:
        found = []
        if self.window <= _NONE:
            found.append(f"a breaker's window must be above zero; it is {self.window}")
        if self.open_for <= _NONE:
            found.append(f"a breaker's open_for must be above zero; it is {self.open_for}")
        if self.longest < self.open_for:
            found.append(f"a breaker's longest must not be below open_for ({self.open_for}); it is {self.longest}")
        return found

    def open_s(self, trips: int) -> float:
        """How long it is open, in seconds.

        Args:
            trips: how often it has opened in a row, 1 for the first time.
        """
        doubled_s = self.open_for.total_seconds() * 2.0 ** min(trips - 1, 30)
        return min(doubled_s, self.longest.total_seconds())

    def __str__(self) -> str:
        """The declaration in words, as the catalogue shows it."""
        words = [] if self.failures is None else [f"after {counted(self.failures, 'failure')} in a row"]
        if self.ratio is not None:
            words.append(f"at {self.ratio:.0%} of {self.least} runs or more in {format_duration(self.window)}")
        times = f"probes after {format_duration(self.open_for)}, {format_duration(self.longest)} at the most"
        return f"{' or '.join(words)}; {times}"


DEFAULT_BREAKER: Final = Breaker()
"""The breaker of a dependency that is named and not declared."""


@dataclass(frozen=True, slots=True)
class DeadGuard:
    """How many dead letters of a job type pause it, until an operator resumes it.

    Attributes:
        most: so many dead letters are let pass; the next one pauses the job type.
        within: the dead letters of so long count.
    """

    most: int
    _: KW_ONLY
    within: timedelta

    def faults(self) -> list[str]:
        """List what is wrong with the declaration; empty when all is well."""
        found = []
        if self.most < 0:
            found.append(f"dead_guard's most must not be negative; it is {self.most}")
        if self.within <= _NONE:
            found.append(f"dead_guard's within must be above zero; it is {self.within}")
        return found

    def __str__(self) -> str:
        """The declaration in words, as the catalogue shows it."""
        return f"more than {counted(self.most, 'dead letter')} in {format_duration(self.within)}"


def need_faults(needs: object) -> list[str]:
    """List what is wrong with the dependencies that a job type names."""
    if isinstance(needs, str) or not isinstance(needs, Collection):
        return [f"needs is a list of dependencies, such as needs=[{str(needs)!r}]; it is {needs!r}"]
    found = [fault for name in needs for fault in name_faults(name)]
    twice = sorted({str(name) for name in needs if list(needs).count(name) > 1})
    return [*found, *(f"needs names {name!r} twice" for name in twice)]


def name_faults(name: object) -> list[str]:
    """List what is wrong with the name of a dependency."""
    if not isinstance(name, str):
        return [f"a dependency is named by text, such as 'stripe'; it is {name!r}"]
    if not name or len(name) > 80 or not name.isascii() or not name.translate(_MARKS).isalnum():
        return [f"the dependency {name!r} cannot be called so: use 1 to 80 ASCII letters, digits, '_', '-' and '.'"]
    return []


_MARKS: Final = str.maketrans("", "", "_-.")
