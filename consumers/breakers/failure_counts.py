"""`FailureCounts`: counts the runs of one job type or dependency, and finds when its breaker is to open."""

from __future__ import annotations

from collections import deque
from typing import Final

from ...topology import Breaker

SLICES: Final = 20
"""The window is counted in so many slices; the oldest one leaves it as a whole."""


class FailureCounts:
    """Counts the runs in this process. Not thread-safe.

    >>> counts = FailureCounts(Breaker(failures=2))
    >>> [counts.note(failed=failed, now_s=0.0) for failed in (True, False, True, True)]
    ['', '', '', '2 runs in a row have failed']
    """

    def __init__(self, rules: Breaker) -> None:
        self._rules = rules
        self._slice_s = rules.window.total_seconds() / SLICES
        self._in_a_row = 0
        self._slices: deque[tuple[int, int, int]] = deque()
        """(number of the slice, its runs, its failed runs)."""

    def note(self, *, failed: bool, now_s: float) -> str:
        """Count a run that has ended; returns the reason to open the breaker, and no text where there is none."""
        self._in_a_row = self._in_a_row + 1 if failed else 0
        if self._rules.ratio is not None:
            self._add(failed, int(now_s / self._slice_s))
        return self._reason() if failed else ""

    def clear(self) -> None:
        """Begin anew."""
        self._in_a_row = 0
        self._slices.clear()

    def _add(self, failed: bool, number: int) -> None:
        while self._slices and self._slices[0][0] <= number - SLICES:
            self._slices.popleft()
        runs = failures = 0
        if self._slices and self._slices[-1][0] >= number:  # a clock that is set back adds to the last slice
            number, runs, failures = self._slices.pop()
        self._slices.append((number, runs + 1, failures + failed))

    def _reason(self) -> str:
        rules = self._rules
        if rules.failures is not None and self._in_a_row >= rules.failures:
            return f"{self._in_a_row} runs in a row have failed" if self._in_a_row > 1 else "a run has failed"
        runs = sum(found[1] for found in self._slices)
        failures = sum(found[2] for found in self._slices)
        if rules.ratio is not None and runs >= rules.least and failures >= rules.ratio * runs:
            return f"{failures} of the last {runs} runs have failed"
        return ""
