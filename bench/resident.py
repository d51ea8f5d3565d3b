"""`ResidentPeak`: watches how much memory another process holds."""

from __future__ import annotations

import threading
from typing import Final, Self

import psutil

LOOK_S: Final = 0.1


class ResidentPeak:
    """The most that a process held resident while it was watched, looked at ten times a second."""

    def __init__(self, process_id: int) -> None:
        self._process = psutil.Process(process_id)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.peak_bytes = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_failure: object) -> None:
        self._ended.set()
        self._thread.join()

    def wait(self, seconds: float) -> None:
        """Go on watching for a while."""
        self._ended.wait(seconds)

    @property
    def peak_mb(self) -> float:
        """The peak in MB, of a million bytes each."""
        return self.peak_bytes / 1e6

    def _watch(self) -> None:
        while True:
            self.peak_bytes = max(self.peak_bytes, self._process.memory_info().rss)
            if self._ended.wait(LOOK_S):
                return
