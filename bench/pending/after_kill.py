"""What the notes hold of a worker that was killed and its successor: jobs that got lost, and jobs that began again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

from figures import Figure, Values, below

EXPLAINED_S: Final = 2.0
"""A job that began so shortly before the kill may begin again: its end was not written yet."""

_NOTHING: Final = range(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """How often the jobs of a measurement began.

    Attributes:
        lost: jobs that never began.
        again: jobs that may have been unsettled at the kill: they began no earlier than `EXPLAINED_S` before it, or ran
            all that time, and began once more afterwards.
        twice: other jobs that began more than once.
    """

    lost: int
    again: int
    twice: int

    @classmethod
    def of(cls, runs: bytes, begun_at_s: Sequence[float], killed_at_s: float, running: range = _NOTHING) -> Self:
        """Count them, by number.

        Args:
            runs: how often each job began.
            begun_at_s: the first begin of each, in seconds since 1970; anything for a job that never began.
            running: numbers of jobs that ran at the kill, whenever they began.
        """
        repeated = [number for number, count in enumerate(runs) if count > 1]
        again = sum(
            runs[number] == 2 and (number in running or -EXPLAINED_S <= begun_at_s[number] - killed_at_s <= 0)
            for number in repeated
        )
        return cls(lost=runs.count(0), again=again, twice=len(repeated) - again)

    @property
    def values(self) -> Values:
        """As figures."""
        return {"lost": self.lost, "again": self.again, "twice": self.twice}


KEPT_FIGURES: Final = (
    Figure(name="lost", label="jobs that never began", unit="jobs", target=below(1)),
    Figure(name="again", label="jobs begun again, unsettled at the kill", unit="jobs"),
    Figure(name="twice", label="other jobs begun twice", unit="jobs", target=below(1)),
)
