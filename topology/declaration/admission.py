"""How many jobs of a queue may wait before producers are stopped, and what a producer does then."""

from __future__ import annotations

from typing import Literal, get_args

WhenFull = Literal["refuse", "wait"]


def admission_faults(max_waiting: int | None, when_full: str) -> list[str]:
    """List what is wrong with a queue's `max_waiting` and `when_full`."""
    found = []
    if when_full not in get_args(WhenFull):
        found.append(f"when_full must be one of {', '.join(get_args(WhenFull))}; it is {when_full!r}")
    if max_waiting is not None and max_waiting < 1:
        found.append(f"max_waiting must be at least 1; it is {max_waiting}. None sets no bound")
    if max_waiting is None and when_full == "wait":
        found.append("when_full='wait' needs max_waiting: without a bound, the queue is never full")
    return found
