"""The jobs that wait: their handlers do nothing but note when they begin, and one of them stands in the way."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path
from typing import Final

from jobs import PARTITIONS, QUEUE

from pending.notes import Notes
from stoker.topology import Pipeline

NAMESPACE_VARIABLE: Final = "BENCH_NAMESPACE"
NOTES_VARIABLE: Final = "BENCH_NOTES"
RELEASE_VARIABLE: Final = "BENCH_RELEASE"
SESSION_VARIABLE: Final = "BENCH_SESSION_S"

PLAIN: Final = "plain"
BLOCKING: Final = "blocking"
BLOCKING_TIMEOUT: Final = timedelta(hours=6)
"""Longer than the job must stand in the way, which the default of five minutes may not be."""
_LOOK_S: Final = 0.05


def declare(
    namespace: str, session_s: float | None = None, notes: Notes | None = None, release: Path | None = None
) -> Pipeline:
    """The pipeline of one measurement; a process that only publishes has neither notes nor a file to wait for."""
    pipeline = Pipeline(namespace)
    session = None if session_s is None else timedelta(seconds=session_s)
    queue = pipeline.queue(QUEUE, partitions=PARTITIONS, session_timeout=session)
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

    job(queue, name=PLAIN)(plain)
    job(queue, name=BLOCKING, timeout=BLOCKING_TIMEOUT)(blocking)
    return pipeline
