"""`IndexMetrics`: how far an index is, as metrics and as health of the process that keeps it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ...consumers.machine import resident_bytes
from ...producers.metrics import all_metrics as metrics
from ...producers.metrics.health import HealthReport
from ...producers.metrics.sample import Sample
from .topic_follower import Progress

HANGS_AFTER_S: Final = 600.0
"""A turn that adds the indexes of a large file, after it was built, takes minutes."""

SILENT_AFTER_S: Final = 15.0
"""As old as an index may be before the commands call it stale."""


class IndexMetrics:
    """The figures of an index, and a `Health`. The follower's thread notes its progress; any thread may ask."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._progress = Progress()
        self._noted_at_s = time.monotonic()

    def note(self, progress: Progress) -> None:
        """Take the progress of a turn."""
        self._progress, self._noted_at_s = progress, time.monotonic()

    def samples(self) -> Iterator[Sample]:
        """Give the samples of this moment."""
        progress = self._progress
        yield Sample(metrics.INDEX_READ, (), progress.read)
        yield Sample(metrics.INDEX_RECONCILED, (), progress.reconciled)
        yield Sample(metrics.INDEX_FORGOTTEN, (), progress.forgotten)
        if progress.behind is not None:
            yield Sample(metrics.INDEX_BEHIND, (), progress.behind)
        yield Sample(metrics.INDEX_BYTES, (), sum(map(_size_bytes, _files(self._path))))
        yield Sample(metrics.MEMORY, (), resident_bytes(os.getpid()) or 0)
        yield Sample(metrics.IS_READY, (), self.ready().is_well)

    def live(self) -> HealthReport:
        """Not live where the process has read nothing, not even nothing new, for long."""
        silent_s = time.monotonic() - self._noted_at_s
        why = (f"nothing was read for {silent_s:.0f} s",) if silent_s >= HANGS_AFTER_S else ()
        return HealthReport(why=why, detail={"read": self._progress.read})

    def ready(self) -> HealthReport:
        """Not ready before all that was there at the start has been read once, or while no broker answers.

        The answers would be of the past.
        """
        progress, why = self._progress, list[str]()
        if not progress.is_caught_up:
            why.append("the topics are still being read")
        elif progress.answered_at_s is not None:
            silent_s = time.monotonic() - progress.answered_at_s
            if silent_s >= SILENT_AFTER_S:
                why.append(f"no broker has answered for {silent_s:.0f} s")
        return HealthReport(why=tuple(why), detail={"behind": progress.behind})


def _files(path: Path) -> tuple[Path, ...]:
    """The file of the index, and that of its latest writes."""
    return path, path.with_name(f"{path.name}-wal")


def _size_bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
