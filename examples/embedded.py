"""What the programs of one feature need that run a worker inside of themselves: its counts, and waiting for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from stoker.consumers import Worker

DEADLINE_S: Final = 60.0


def count(worker: Worker, outcome: str) -> int:
    """How many jobs have ended so."""
    return worker.snapshot()[0].outcomes.get(outcome, 0)


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait until it holds.

    Raises:
        TimeoutError: it did not in a minute.
    """
    give_up_at_s = time.monotonic() + DEADLINE_S
    while not condition():
        if time.monotonic() > give_up_at_s:
            raise TimeoutError("the jobs did not come so far in a minute")
        time.sleep(0.02)
