"""`Meter`: what a scope of a limit asks of that which counts for it. Pure: each call is given the time."""

from __future__ import annotations

from abc import abstractmethod
from typing import Final, Protocol

from ...topology.declaration.limits import Limit
from .level import Level

SHORTEST_MARGIN_S: Final = 0.005
LONGEST_MARGIN_S: Final = 0.03
MARGIN_RATIO: Final = 0.03
"""A handler is called a little later than its job is counted. Windows are longer by this part of theirs."""


class Meter(Protocol):
    """Counts what one scope has used; costs are numbers of at least 1, and times are of one monotonic clock.

    Attributes:
        count: the limit's number.
    """

    count: int

    @abstractmethod
    def wait_s(self, cost: int, now_s: float) -> float:
        """How long until so much fits; 0 where it fits now, `math.inf` where that depends on the end of a run."""

    @abstractmethod
    def room(self, now_s: float) -> int:
        """How much fits now."""

    @abstractmethod
    def acquire(self, cost: int, now_s: float) -> None:
        """Count a job that begins."""

    def try_acquire(self, cost: int, now_s: float) -> bool:
        """Count a job that begins, if it fits now."""
        if self.wait_s(cost, now_s) > 0.0:
            return False
        self.acquire(cost, now_s)
        return True

    @abstractmethod
    def give_back(self, cost: int, now_s: float) -> None:
        """Count a job no more that was taken just now, and does not begin."""

    @abstractmethod
    def is_idle(self, now_s: float) -> bool:
        """Whether nothing is left of what was counted, so that a new meter would answer alike."""

    @abstractmethod
    def change(self, limit: Limit, now_s: float) -> None:
        """Count for the limit as it is from now on, with what was counted so far; it is of the same kind."""

    @property
    def has_permits(self) -> bool:
        """Whether ends of runs may give room."""
        return False

    def level(self, now_s: float) -> Level:
        """All that is used of a rate; of permits nothing, since the runs of an owner that died are over."""
        return Level(at_s=now_s)

    def restore(self, level: Level) -> None:
        """Begin with what an owner before has used."""
        return

    def free(self, now_s: float) -> int:
        """How much is not used, whether or not this process may use it now."""
        return self.room(now_s)

    def free_in_s(self, cost: int, now_s: float) -> float:
        """How long until so much is not used any more."""
        return self.wait_s(cost, now_s)

    def end(self, cost: int) -> bool:
        """Note the end of a run; returns whether that gives room."""
        return False

    def fill(self, now_s: float) -> None:
        """Take all that is left, for what may have begun elsewhere up to then."""
        self.acquire(max(0, self.room(now_s)), now_s)

    def clipped(self, cost: int) -> int:
        """Return the cost that a job is counted with: one above the limit could never begin, so it takes all of it."""
        return min(cost, self.most)

    @property
    def most(self) -> int:
        """The largest cost that ever fits."""
        return self.count


def margin_s(per_s: float) -> float:
    """By how much a window is counted longer."""
    return min(LONGEST_MARGIN_S, max(SHORTEST_MARGIN_S, per_s * MARGIN_RATIO))
