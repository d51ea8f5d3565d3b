"""`ThreadRunner`: one thread's slot and the records that it has taken, and how records are taken from others."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Final

from ..records.record import Record
from .kinds import Ready
from .slots import Slot

MAX_HANDFUL: Final = 64


@dataclass(slots=True, eq=False)
class ThreadRunner:
    """All that is known of one runner.

    Attributes:
        slot: where its jobs run.
        mine: the records that it has taken and not begun; it takes them from the begin, others from the end.
        following: the first of these, as the spreader saw it last; None where there was none.
        following_since_at_s: `time.monotonic()` at which the spreader saw it first.
        first_done: the first record in its slot that was done and not handed over, as the spreader saw it last.
    """

    slot: Slot
    mine: deque[Record] = field(default_factory=deque)
    following: Record | None = None
    following_since_at_s: float = 0.0
    first_done: Record | None = None


MINE: Final[attrgetter[deque[Record]]] = attrgetter("mine")
"""The records that a runner has taken. Unlike an expression for each of them, `map` with it makes no Python call."""


def count_taken(runners: Iterable[ThreadRunner]) -> int:
    """How many records these runners have taken and not begun."""
    return sum(map(len, map(MINE, runners)))


def take_by_priority(ready: Ready, most: int) -> list[Record]:
    """Take the next records: few, as an urgent one that comes waits for those that a runner has taken."""
    taken: list[Record] = []
    with suppress(IndexError):  # the keys of all others are in hand
        while len(taken) < most:
            taken.append(ready.popleft())
    return taken


def take_back(mine: deque[Record], most: int = MAX_HANDFUL) -> list[Record]:
    """Take records, in their order, from the end of what a runner has, while it takes one by one from the begin."""
    taken: list[Record] = []
    for _ in range(most):
        try:
            taken.append(mine.pop())
        except IndexError:  # the runner was faster
            break
    taken.reverse()
    return taken
