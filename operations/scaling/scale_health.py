"""`Watching`: the last recommendation for each queue, for the metrics page, and whether it is of now."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from ...producers.metrics.health import HealthReport
from ...producers.metrics.sample import Sample
from .load import QueueLoad, ScalingPolicy
from .rule import Recommendation
from .scaler import Scaler
from .text import samples_of


class Watching:
    """Looks at queues again and again; its metrics and health are asked for by other threads.

    Args:
        policies: one for each queue, in the order of the loads.
        stale_s: from this age on, the last look does not count as of now.
    """

    def __init__(
        self, policies: Sequence[ScalingPolicy], stale_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._scalers = [Scaler(policy) for policy in policies]
        self._stale_s, self._clock = stale_s, clock
        self._lock = threading.Lock()
        self._found: list[Recommendation] = []
        self._at_s: float | None = None

    def look(self, loads: Sequence[QueueLoad]) -> list[Recommendation]:
        """Take a look at all queues."""
        found = [scaler.look(load) for scaler, load in zip(self._scalers, loads, strict=True)]
        with self._lock:
            self._found, self._at_s = found, self._clock()
        return found

    def samples(self) -> list[Sample]:
        """The metrics of the last look, however old it is: without new data, the workers stay as they are."""
        with self._lock:
            return samples_of(self._found)

    def live(self) -> HealthReport:
        """It lives, since it looks again after each failure."""
        return HealthReport()

    def ready(self) -> HealthReport:
        """Whether the last look is of now."""
        with self._lock:
            at_s = self._at_s
        if at_s is None:
            return HealthReport(why=("it has not looked yet",))
        age_s = self._clock() - at_s
        return HealthReport(why=(f"the last look is {age_s:.0f} s old",) if age_s > self._stale_s else ())
