"""The jobs that wait: their handlers do nothing but note when they begin, and two of them stand in the way."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path
from typing import Final

from jobs import PARTITIONS, QUEUE

from pending.notes import Notes
from stoker.consumers import current_job
from stoker.topology import Pipeline, RetryPolicy
from stoker.topology.declaration.queue import Ordering

NAMESPACE_VARIABLE: Final = "BENCH_NAMESPACE"
NOTES_VARIABLE: Final = "BENCH_NOTES"
RELEASE_VARIABLE: Final = "BENCH_RELEASE"
SESSION_VARIABLE: Final = "BENCH_SESSION_S"
ORDERING_VARIABLE: Final = "BENCH_ORDERING"

PLAIN: Final = "plain"
HELD: Final = "held"
"""Does the same as the plain one; it is the type that is paused."""
BLOCKING: Final = "blocking"
FAILING: Final = "failing"
TIER: Final = timedelta(hours=2)
"""Where a failing job waits; in strict order, so do all later ones of its key."""
BLOCKING_TIMEOUT: Final = timedelta(hours=6)
"""Longer than the job must stand in the way, which the default of five minutes may not be."""
_LOOK_S: Final = 0.05


class FailsOnce(Exception):
    """What a failing job raises in its first run."""


def declare(
    namespace: str,
    session_s: float | None = None,
    notes: Notes | None = None,
    release: Path | None = None,
    ordering: Ordering = "key",
) -> Pipeline:
    """The pipeline of one measurement; a process that only publishes has neither notes nor a file to wait for."""
    pipeline = Pipeline(namespace)
    session = None if session_s is None else timedelta(seconds=session_s)
    queue = pipeline.queue(QUEUE, partitions=PARTITIONS, session_timeout=session, ordering=ordering, tiers=(TIER,))
    job = pipeline.job

    def plain(number: int, since_s: float) -> None:
        """Note how long after `since_s`, the due time or the start of the measurement, the job begins."""
        if notes is not None:
            notes.add(number, time.time() - since_s)

    def blocking(number: int, since_s: float) -> None:
        """Begin, and stand in the way of the jobs of the same key until the release file is there."""
        plain(number, since_s)
        while release is not None and not release.exists():
            time.sleep(_LOOK_S)

    def failing(number: int, since_s: float) -> None:
        """Begin and fail, which is all that is noted of it; succeed in the second run."""
        if current_job().attempt == 1:
            plain(number, since_s)
            raise FailsOnce("as it must")

    job(queue, name=PLAIN)(plain)
    job(queue, name=HELD)(plain)
    job(queue, name=FAILING, retry=RetryPolicy(attempts=2))(failing)
    job(queue, name=BLOCKING, timeout=BLOCKING_TIMEOUT)(blocking)
    return pipeline
