"""A clock that moves only when the simulation says so, in place of the one that the worker's modules ask."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

START_S = 1_357_041_600.0


class VirtualTime:
    """Stands for the module `time`."""

    def __init__(self) -> None:
        self.now_s = START_S

    def time(self) -> float:
        """The epoch time."""
        return self.now_s

    def monotonic(self) -> float:
        """The same: nobody sets this clock back."""
        return self.now_s

    def sleep(self, for_s: float) -> None:
        """Time passes, and nothing else happens."""
        self.advance(for_s)

    def advance(self, by_s: float) -> None:
        """Let time pass."""
        self.now_s += by_s


CLOCK = VirtualTime()


@contextmanager
def virtual_time() -> Iterator[None]:
    """Let everything in `stoker.consumers` ask this clock."""
    asking = [
        module
        for name, module in list(sys.modules.items())
        if name.startswith("stoker.consumers.") and getattr(module, "time", None) is time
    ]
    for module in asking:
        module.time = CLOCK  # type: ignore[attr-defined]  # it has one, see above
    try:
        yield
    finally:
        for module in asking:
            module.time = time  # type: ignore[attr-defined]  # as above
