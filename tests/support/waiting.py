"""Waiting for a condition with a deadline: the one way tests wait for what another thread, process or broker does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_LOOK_AGAIN_S = 0.01


def wait_until(condition: Callable[[], T | None], within_s: float = 60.0, what: str = "the condition to hold") -> T:
    """Call `condition` until it returns something true, and return that.

    Raises:
        AssertionError: it did not in `within_s`; the message tells `what` was awaited and the last value seen.
    """
    give_up = time.monotonic() + within_s
    while not (seen := condition()):
        if time.monotonic() >= give_up:
            raise AssertionError(f"waited {within_s:g} s in vain for {what}; last seen: {seen!r}")
        threading.Event().wait(_LOOK_AGAIN_S)
    return seen
