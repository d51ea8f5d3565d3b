"""`Restart`: how a worker begins that is started in the place of a killed one."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final, Self

from figures import Figure, Values, below
from jobs import PARTITIONS

from pending.scene import Batch, Scene

KNOWN_LIMIT_S: Final = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart:
    """A kill, and what came after it.

    Attributes:
        killed_at_s: in seconds since 1970.
        first_s: from the assignment of the new worker to its first job.
        known_s: from there to the last of the jobs that lie behind all that waits.
        peak_mb: the most memory of the new worker.
    """

    killed_at_s: float
    first_s: float
    known_s: float
    peak_mb: float

    @classmethod
    def of(cls, scene: Scene, running: Batch, share: float, limit_s: float) -> Self:
        """Kill the worker amid these jobs, and wait until such a share of them has begun at its successor."""
        last = scene.last_of_partitions()
        killed_at_s = scene.kill()
        scene.publish(last)
        assigned_at_s = scene.start_worker()
        with scene.memory() as peak:
            scene.wait_begun(last.numbers, "jobs behind all that waits, after the restart", limit_s=KNOWN_LIMIT_S)
            waited_s = time.time() - assigned_at_s
            scene.wait_begun(running.numbers, "jobs that the kill has cut short", share=share, limit_s=limit_s)
        known_at_s = scene.begun_at_s(last.numbers)
        begun_at_s = [*scene.begun_at_s(running.numbers), *known_at_s]
        after_s = [at_s - assigned_at_s for at_s in begun_at_s if at_s > killed_at_s]
        return cls(
            killed_at_s=killed_at_s,
            first_s=min(after_s, default=waited_s),
            known_s=max(known_at_s) - assigned_at_s if len(known_at_s) == PARTITIONS else waited_s,
            peak_mb=peak.peak_mb,
        )

    @property
    def values(self) -> Values:
        """As figures."""
        return {"first": self.first_s, "known": self.known_s}


RESTART_FIGURES: Final = (
    Figure(name="first", label="restart: assignment to the first job, s", unit="s", target=below(5)),
    Figure(name="known", label="restart: assignment to all known, s", unit="s", target=below(30)),
)
