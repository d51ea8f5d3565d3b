"""`DeadGuards`: counts the dead letters of the job types that declare a guard, and finds when one is to be paused."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from ...topology import AnyJobType, DeadGuard, format_duration
from ...topology.counts import counted
from ..records.outcomes import Dead


@dataclass(frozen=True, slots=True, kw_only=True)
class TooManyDead:
    """A job type that is to be paused.

    Attributes:
        reason: the figures, for people.
    """

    job_type: str
    queue: str
    reason: str


class DeadGuards:
    """The guards of one worker process, which counts the dead letters that it writes. Falsy where there are none."""

    def __init__(self, job_types: Iterable[AnyJobType] = (), *, clock: Callable[[], float] = time.monotonic) -> None:
        guarded = [(job_type, guard) for job_type in job_types if (guard := job_type.dead_guard) is not None]
        self._guards = {job_type.name.encode(): _Guarded(job_type, guard) for job_type, guard in guarded}
        self._clock = clock
        self._lock = threading.Lock()
        self._on_tripped: Callable[[TooManyDead], None] = lambda _found: None

    def report_to(self, on_tripped: Callable[[TooManyDead], None]) -> None:
        """Have this called for each trip: by the thread that has noted the dead letter, before another job becomes one.

        `GuardPauses` asks for it. It pauses all queues, whose steps are made with these guards, so it comes later.
        """
        self._on_tripped = on_tripped

    def __bool__(self) -> bool:
        return bool(self._guards)

    def note(self, job_type: bytes | None, why: str) -> None:
        """Count a dead letter.

        Args:
            why: of the last one, for people.
        """
        guarded = self._guards.get(job_type or b"")
        if guarded is None:
            return
        with self._lock:
            reason = guarded.note(self._clock())
        if reason:
            name = guarded.job_type
            found = TooManyDead(job_type=name.name, queue=name.queue.name, reason=f"{reason}, the last one by {why}")
            self._on_tripped(found)


def why_dead(outcome: Dead) -> str:
    """The cause of a dead letter, for people."""
    return f"{outcome.reason}: {outcome.failure.error_type}"


class _Guarded:
    """One job type and the times of its last dead letters."""

    def __init__(self, job_type: AnyJobType, guard: DeadGuard) -> None:
        self.job_type, self._guard = job_type, guard
        self._at_s: deque[float] = deque(maxlen=guard.most + 1)

    def note(self, now_s: float) -> str:
        """Count one; returns the figures where that is too many. Then the counting begins anew."""
        within_s = self._guard.within.total_seconds()
        self._at_s.append(now_s)
        if len(self._at_s) <= self._guard.most or now_s - self._at_s[0] > within_s:
            return ""
        passed_s, count = now_s - self._at_s[0], len(self._at_s)
        self._at_s.clear()
        return (
            f"{counted(count, 'dead letter')} within {max(passed_s, 0.1):.1f} s; at most {self._guard.most} may come "
            f"within {format_duration(self._guard.within)}"
        )


NO_GUARDS: Final = DeadGuards()
